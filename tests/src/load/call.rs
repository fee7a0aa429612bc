//! One call of a client: PPP's link on the wire.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::time::Instant as StdInstant;

use protocol::machine::{Action, drive};
use protocol::ppp::Framing;
use protocol::ppp::auth::{Credential, Method};
use protocol::ppp::link::{self, Encryption, Link, Network, Step};
use protocol::pptp::connection::CallHandle;
use protocol::time::Instant;

use super::{Shared, Steps, Tunnel};

/// Frames that wait for the reply that opens the call: the server's first may overtake it.
const EARLY: usize = 8;

/// A call, from its request to its end.
pub(super) struct Call {
    client: usize,
    address: Ipv4Addr,
    link: Link,
    pub(super) deadline: Option<Instant>,
    pub(super) own_call_id: NonZeroU16,
    pub(super) handle: Option<CallHandle>,
    peer_call_id: u16,
    framing: Framing,
    encryption: Encryption,
    began: StdInstant,
    pub(super) steps: Steps,
    is_open: bool,
    early: VecDeque<Vec<u8>>,
    pub(super) is_up: bool,
    /// Why the link is down.
    pub(super) ended: Option<String>,
    /// Why the server, or we, cleared the call.
    pub(super) cleared: Option<String>,
}

impl Call {
    /// A client's call of its dial number `dial`, which began at `began` and now has TCP.
    pub(super) fn new(
        client: usize,
        dial: usize,
        shared: &Shared,
        address: Ipv4Addr,
        began: StdInstant,
    ) -> Self {
        let plan = &shared.plan;
        let (user, password) = plan.accounts[client % plan.accounts.len()].clone();
        let role = link::Role::Client {
            user: user.into_bytes(),
            credential: Credential::of_password(&password),
            methods: vec![Method::MsChapV2],
        };
        let mut entropy = [0; 32];
        entropy[..8].copy_from_slice(&(client as u64).to_be_bytes());
        entropy[8..16].copy_from_slice(&(dial as u64).to_be_bytes());
        entropy[16..24].copy_from_slice(&plan.seed.to_be_bytes());
        Self {
            client,
            address,
            link: Link::new(link::Config::new(role), entropy),
            deadline: None,
            own_call_id: plan.sources.call_id_of(client, dial),
            handle: None,
            peer_call_id: 0,
            framing: Framing::default(),
            encryption: Encryption::None,
            began,
            steps: Steps { tcp: began.elapsed(), ..Steps::default() },
            is_open: false,
            early: VecDeque::new(),
            is_up: false,
            ended: None,
            cleared: None,
        }
    }

    /// What the server has not answered yet.
    pub(super) fn step(&self) -> &'static str {
        let Steps { lcp, authentication, ccp, .. } = self.steps;
        if !self.is_open {
            "PPTP"
        } else if lcp.is_zero() {
            "LCP (is GRE filtered?)"
        } else if authentication.is_zero() {
            "the login"
        } else if ccp.is_zero() {
            "CCP"
        } else {
            "IPCP"
        }
    }

    /// The server took the call.
    pub(super) fn open(&mut self, shared: &Shared, peer_call_id: u16) {
        self.peer_call_id = peer_call_id;
        self.steps.call = self.began.elapsed();
        self.is_open = true;
        self.ppp(shared, link::Input::Open);
        while let Some(frame) = self.early.pop_front() {
            self.ppp(shared, link::Input::Frame(&frame));
        }
    }

    /// A PPP frame came.
    pub(super) fn frame(&mut self, shared: &Shared, frame: Vec<u8>) {
        if self.is_open {
            self.ppp(shared, link::Input::Frame(&frame));
        } else if self.early.len() < EARLY {
            self.early.push_back(frame);
        }
    }

    pub(super) fn deadline_passed(&mut self, shared: &Shared) {
        self.ppp(shared, link::Input::Deadline);
    }

    fn ppp(&mut self, shared: &Shared, input: link::Input<'_>) {
        let (mut frames, mut events) = (Vec::new(), Vec::new());
        self.deadline = drive(&mut self.link, input, shared.now(), |action| match action {
            Action::Send(frame) => frames.push(frame),
            Action::Event(event) => events.push(event),
        });
        for frame in frames {
            // What a full socket loses is sent again by the link.
            let _ = shared.wire.send(self.client, self.address, self.peer_call_id, &frame);
        }
        let elapsed = self.began.elapsed();
        for event in events {
            match event {
                link::Event::Step(Step::LcpUp) => self.steps.lcp = elapsed,
                link::Event::Step(Step::Authenticated) => self.steps.authentication = elapsed,
                link::Event::Step(Step::CcpUp) => self.steps.ccp = elapsed,
                link::Event::FramingAgreed { framing, .. } => self.framing = framing,
                link::Event::Encryption(encryption) => self.encryption = encryption,
                link::Event::NetworkUp(network) => {
                    self.steps.up = elapsed;
                    self.is_up = true;
                    self.carry(shared, network);
                }
                link::Event::NetworkDown => self.close(shared),
                link::Event::Down(reason) => {
                    // The first reason counts.
                    self.ended.get_or_insert(format!("link: {reason}"));
                }
                _ => {}
            }
        }
    }

    fn carry(&self, shared: &Shared, network: Network) {
        if let Some(carrier) = shared.wire.carrier() {
            let tunnel = Tunnel {
                from: self.address,
                peer_call_id: self.peer_call_id,
                framing: self.framing,
                network,
                encryption: self.encryption.clone(),
            };
            carrier.open(self.client, &tunnel, shared.wire.newest(self.client));
        }
    }

    /// Data may pass no longer.
    pub(super) fn close(&self, shared: &Shared) {
        if let Some(carrier) = shared.wire.carrier() {
            carrier.close(self.client);
        }
    }
}
