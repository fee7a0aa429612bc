//! `penstock dial`: a PPTP client with a data plane and a TUN interface of its own.
//!
//! The call itself is [`outgoing`], which the daemon's clients share. Here is what a person sees of
//! it: each step with its time, and if it fails what an operator can do about it. Changes the
//! kernel's routes only where told to.

mod arguments;
mod error;
pub mod outgoing;
mod output;
pub mod routes;

use dataplane::api::{self, Events, Handle};
use protocol::ppp::auth::{Credential, Method};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::Instant;
use zeroize::Zeroizing;

pub use arguments::Arguments;
pub use error::DialError;

use crate::clock::Clock;
use crate::config::policy;
use crate::host::{host_name, interface_exists};
use crate::kernel::Kernel;
use crate::plane::{self, Plane};
use crate::terms::Route;
use arguments::YesNo;
use outgoing::{CONNECT_TIMEOUT, Outgoing, Progress, Settings, connect, resolve};
use output::Output;
use routes::{DefaultRoute, Pins, Routes, Through};

/// Calls, and stays until told to end.
///
/// # Errors
/// If the call fails, or is lost.
pub fn run(arguments: &Arguments, password: Zeroizing<String>) -> Result<(), DialError> {
    let credential = Credential::of_password(&password);
    drop(password);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(DialError::System)?
        .block_on(dial(arguments, credential))
}

async fn dial(arguments: &Arguments, credential: Credential) -> Result<(), DialError> {
    let mut output = Output::new(arguments.json);
    let up = Notify::new();
    let over = arguments.duration.map(|duration| Instant::now() + duration.duration());
    let ended = ended(over, &up);
    let mut ended = std::pin::pin!(ended);
    let server = resolve(&arguments.server).await?;
    let (interface, handle, events) = start(arguments).await?;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| DialError::System(std::io::Error::other(error)))?;
    let plane = Plane::new(handle, Clock::start(), u64::from_ne_bytes(seed));
    let deliver = plane.clone();
    let delivery = tokio::spawn(async move {
        deliver.deliver(events).await;
    });
    let mut settings = settings(arguments, credential, interface);
    // Whoever gives the whole thing less time does not want to wait longer for its begin.
    let within = arguments.duration.map_or(CONNECT_TIMEOUT, |whole| {
        settings.login_timeout = settings.login_timeout.min(whole.duration());
        CONNECT_TIMEOUT.min(whole.duration())
    });
    let result = {
        let stream = tokio::select! {
            stream = connect(server, within) => stream?,
            () = &mut ended => return Ok(()),
        };
        let routes = Routes::new(Kernel::connect()?, Pins::default());
        let watcher = |progress: Progress<'_>| {
            if matches!(progress, Progress::Up(_)) {
                up.notify_one();
            }
            output.show(progress, &settings.interface);
        };
        match Outgoing::place(stream, &settings, &plane, routes, watcher).await {
            Ok(call) => {
                let ended = call.run(ended).await;
                output.down(&ended, server);
                ended.result
            }
            Err(error) => Err(error),
        }
    };
    delivery.abort();
    plane.handle().stop();
    result
}

fn settings(arguments: &Arguments, credential: Credential, interface: String) -> Settings {
    let routes = arguments.route.iter();
    let routes = routes.map(|&destination| Route { destination, gateway: None, metric: 0 });
    let default = (arguments.add_default_route == YesNo::Yes).then_some(DefaultRoute::First);
    Settings {
        host_name: host_name(),
        user: arguments.user.clone(),
        credential,
        methods: arguments.allow.iter().copied().map(Method::from).collect(),
        encryption: policy(
            arguments.encryption,
            &arguments.encryption_strengths,
            arguments.encryption_mode,
        ),
        max_mtu: arguments.max_mtu,
        max_mru: arguments.max_mru,
        mrru: arguments.mrru,
        keepalive: arguments.keepalive_timeout.unless_zero(),
        login_timeout: arguments.login_timeout.duration(),
        clamp_mss: true,
        tap: None,
        forward: api::Forward::Fast,
        interface,
        through: Through { routes: routes.collect(), default },
    }
}

/// SIGINT, SIGTERM, or the time is over. That ends a link which is up: one that is not by then has
/// failed.
async fn ended(over: Option<Instant>, up: &Notify) {
    let caught = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    let over = async {
        match over {
            Some(over) => {
                up.notified().await;
                tokio::time::sleep_until(over).await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = caught(SignalKind::interrupt()) => {}
        _ = caught(SignalKind::terminate()) => {}
        () = over => {}
    }
}

/// Starts a data plane with the interface that was asked for, or with the first of RouterOS's
/// names that is free.
async fn start(arguments: &Arguments) -> Result<(String, Handle, Events), DialError> {
    let started = async |name: String| {
        let config = api::Config {
            workers: 1,
            tun: api::Tun {
                name,
                mtu: arguments.mrru.inner_mtu(arguments.max_mtu),
                ..api::Tun::default()
            },
            max_tunnels: 1,
            frames: 2048,
            ..api::Config::default()
        };
        plane::start(config).await
    };
    if let Some(name) = &arguments.interface {
        let (handle, events) = started(name.clone()).await?;
        return Ok((name.clone(), handle, events));
    }
    let mut number = 1_u32;
    loop {
        let name = format!("pptp-out{number}");
        number += 1;
        if interface_exists(&name) {
            continue;
        }
        match started(name.clone()).await {
            Ok((handle, events)) => return Ok((name, handle, events)),
            // Another call took the name at the same moment.
            Err(_) if interface_exists(&name) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
