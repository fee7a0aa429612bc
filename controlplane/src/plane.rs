//! Our end of the data plane: tunnels that close themselves, and frames on their way to whom they
//! concern.
//!
//! Own Call IDs and tunnels are values: dropping one closes or frees it, once. A full command ring
//! makes the caller wait; a full inbox loses the frame and is counted (PPP sends it again).

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dataplane::api::{
    self, Command, DataPlane, Event, Events, Full, Handle, OpenError, Outer, StartError,
    TunnelCounters, TunnelId,
};
use protocol::ppp::link;
use protocol::pptp::call_id::{Allocator, Class, Exhausted};
use protocol::time::Instant;

use crate::clock::Clock;
use crate::mailbox::Mailbox;

/// Packets that a peer that has not said so yet is taken to buffer.
pub const DEFAULT_WINDOW: u16 = 64;

/// How long a full command ring is left alone before the next try.
const RETRY: Duration = Duration::from_millis(1);

/// Tries to open a tunnel while the rings are full: about a second.
const MAX_TRIES: u32 = 1000;

/// What the data plane says of a tunnel, for its link.
#[derive(Debug)]
pub struct Message {
    /// The tunnel.
    pub tunnel: TunnelId,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// A control frame, protocol number first.
    Frame(Box<[u8]>),
    /// An IP packet of the peer's for its router.
    Packet(Box<[u8]>),
    /// The peer has to start its keystream again.
    OutOfStep,
}

impl Message {
    /// What the link is told, or the packet that is for the peer's router.
    ///
    /// # Errors
    /// With the packet, if it is one.
    pub fn input(&self) -> Result<link::Input<'_>, &[u8]> {
        match &self.content {
            Content::Frame(bytes) => Ok(link::Input::Frame(bytes)),
            Content::Packet(packet) => Err(packet),
            Content::OutOfStep => Ok(link::Input::OutOfStep),
        }
    }
}

impl From<Event> for Message {
    fn from(event: Event) -> Self {
        match event {
            Event::Control { tunnel, frame } => Self { tunnel, content: Content::Frame(frame) },
            Event::Packet { tunnel, packet } => Self { tunnel, content: Content::Packet(packet) },
            Event::OutOfStep { tunnel } => Self { tunnel, content: Content::OutOfStep },
        }
    }
}

/// Starts the data plane, which waits for the system.
///
/// # Errors
/// If the configuration or the system does not allow it.
pub async fn start(config: api::Config) -> Result<(Handle, Events), StartError> {
    let started = tokio::task::spawn_blocking(move || DataPlane::start(&config)).await;
    started.unwrap_or_else(|panic| {
        let what = "starting the data plane".to_owned();
        Err(StartError::System { what, source: panic.into() })
    })
}

/// Our end of the data plane. Clones share it.
#[derive(Debug, Clone)]
pub struct Plane(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    handle: Handle,
    clock: Clock,
    call_ids: Mutex<Allocator>,
    inboxes: Mutex<HashMap<TunnelId, Mailbox<Message>>>,
    lost: AtomicU64,
}

impl Plane {
    /// `seed` makes our Call IDs unpredictable.
    #[must_use]
    pub fn new(handle: Handle, clock: Clock, seed: u64) -> Self {
        Self(Arc::new(Inner {
            handle,
            clock,
            call_ids: Mutex::new(Allocator::new(seed)),
            inboxes: Mutex::default(),
            lost: AtomicU64::new(0),
        }))
    }

    /// The data plane itself.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// The time for machines.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.0.clock
    }

    /// Control frames that found their session's inbox full.
    #[must_use]
    pub fn lost_frames(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Brings control frames to their inboxes for as long as it is polled.
    pub async fn deliver(&self, mut events: Events) -> Infallible {
        loop {
            let message = Message::from(events.next().await);
            let inbox = lock(&self.0.inboxes).get(&message.tunnel).cloned();
            // What is said of a tunnel that was closed meanwhile concerns nobody.
            let Some(inbox) = inbox else { continue };
            if inbox.put(message).is_err() {
                self.0.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// A Call ID of ours for a call with this peer.
    ///
    /// # Errors
    /// If all are in use or rest.
    pub fn call_id(&self, peer: Ipv4Addr) -> Result<OwnCallId, Exhausted> {
        let id = lock(&self.0.call_ids).allocate(peer, Class::ANY, self.0.clock.now())?;
        Ok(OwnCallId { id, peer, plane: self.clone() })
    }

    /// Opens the tunnel of a call. When this returns, the peer may send.
    ///
    /// # Errors
    /// If the data plane has no room.
    pub async fn open(
        &self,
        call_id: OwnCallId,
        local: Ipv4Addr,
        peer_call_id: u16,
        peer_window: u16,
        inbox: Mailbox<Message>,
    ) -> Result<Tunnel, OpenError> {
        let own_call_id = call_id.get().get();
        let outer = Outer { local, peer: call_id.peer, own_call_id, peer_call_id, peer_window };
        let mut tries = 0;
        let id = loop {
            match self.0.handle.open(outer) {
                Err(OpenError::Busy) if tries < MAX_TRIES => tries += 1,
                answer => break answer?,
            }
            tokio::time::sleep(RETRY).await;
        };
        lock(&self.0.inboxes).insert(id, inbox);
        Ok(Tunnel { id, call_id })
    }
}

/// One of our Call IDs. Dropping it frees it.
#[derive(Debug)]
pub struct OwnCallId {
    id: NonZeroU16,
    peer: Ipv4Addr,
    plane: Plane,
}

impl OwnCallId {
    /// The number.
    #[must_use]
    pub const fn get(&self) -> NonZeroU16 {
        self.id
    }
}

impl Drop for OwnCallId {
    fn drop(&mut self) {
        let inner = &self.plane.0;
        lock(&inner.call_ids).free(self.peer, self.id, inner.clock.now());
    }
}

/// An open tunnel. Dropping it closes it, then frees its Call ID.
#[derive(Debug)]
pub struct Tunnel {
    id: TunnelId,
    call_id: OwnCallId,
}

impl Tunnel {
    /// Names it in the data plane.
    #[must_use]
    pub const fn id(&self) -> TunnelId {
        self.id
    }

    /// Our Call ID.
    #[must_use]
    pub const fn own_call_id(&self) -> NonZeroU16 {
        self.call_id.get()
    }

    /// Gives a command, and waits while the worker's ring is full.
    pub async fn command(&self, mut command: Command) {
        while let Err(Full(back)) = self.call_id.plane.0.handle.command(command) {
            command = back;
            tokio::time::sleep(RETRY).await;
        }
    }

    /// When its newest packet came.
    #[must_use]
    pub fn heard(&self) -> Option<Instant> {
        let inner = &self.call_id.plane.0;
        Some(inner.clock.now() - inner.handle.heard(self.id)?)
    }

    /// Its counters.
    #[must_use]
    pub fn counters(&self) -> TunnelCounters {
        self.call_id.plane.0.handle.counters(self.id).unwrap_or_default()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let inner = &self.call_id.plane.0;
        lock(&inner.inboxes).remove(&self.id);
        inner.handle.close(self.id);
    }
}

/// What these locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
