//! `penstock serve` from its start to its stop: what is taken from the system first, what runs beside
//! the connections, and how leave is taken of the peers. Serves nobody itself.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use dataplane::api::Events;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use super::{Daemon, Shared, StartError, account, banner, drain, listener, plan};
use crate::api::server::{self, ControlSocket};
use crate::config::{Config, LogFormat};
use crate::host::descriptors::Descriptors;
use crate::kernel::Kernel;
use crate::lists::Lists;
use crate::plane;
use crate::pool::Addresses;
use crate::radius::incoming;
use crate::users::claim::Claim;
use crate::users::{Users, watch};

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot start.
pub fn run(config: Config, file: Option<PathBuf>) -> Result<(), StartError> {
    start_log(&config)?;
    raise_descriptor_limit(&config);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError::System { what: "starting threads", error })?
        .block_on(serve(config, file))
}

async fn serve(config: Config, file: Option<PathBuf>) -> Result<(), StartError> {
    let signals =
        |kind| signal(kind).map_err(|error| StartError::System { what: "catching signals", error });
    let mut terminate = signals(SignalKind::terminate())?;
    let mut interrupt = signals(SignalKind::interrupt())?;
    let mut hangup = signals(SignalKind::hangup())?;
    let (running, shared) = start(config, file).await?;
    loop {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: stopping"),
            _ = interrupt.recv() => info!("SIGINT: stopping"),
            _ = hangup.recv() => {
                info!("SIGHUP: the users-file is read again, the configuration at a restart");
                if let Some(file) = &shared.config.users_file {
                    watch::read(&shared.users, file).await;
                }
                continue;
            }
        }
        break;
    }
    running.stop(&shared).await;
    Ok(())
}

/// What runs besides the shared state.
struct Running {
    listeners: JoinSet<()>,
    services: JoinSet<()>,
    _claim: Claim,
}

async fn start(config: Config, file: Option<PathBuf>) -> Result<(Running, Shared), StartError> {
    // What another daemon has is refused before anything is made.
    let control_socket = server::bind(&config.control_socket).await?;
    let listeners = if config.server.enabled {
        config.server.listen.iter().map(|address| listener::bind(*address)).collect()
    } else {
        Ok(Vec::new())
    }?;
    let orders = incoming::bind(&config).await.map_err(|error| StartError::System {
        what: "taking the port of [radius-incoming]",
        error,
    })?;
    let addresses = Addresses::new(&config);
    let users = Users::open(&config, addresses.clone())?;
    let claim = Claim::lay(&config.database)?;
    if let Some(file) = &config.users_file {
        watch::read(&users, file).await;
    }
    let kernel = Kernel::connect()?;
    let (handle, events) = plane::start(plan::data_plane(&config)).await?;
    plan::complete(&config, &kernel).await?;
    for interface in &config.server.proxy_arp {
        kernel.unproxy_all(interface).await?;
    }
    let mut daemon = Daemon::new(config, users, addresses, kernel, handle)?;
    daemon.accounting = account::start(&daemon)?;
    daemon.lists = Lists::start(daemon.config.address_list.table.clone());
    let shared = Arc::new(daemon);
    let guarded = shared.lockouts.guard(&listeners);
    banner::show(&shared, file.as_deref(), guarded);
    let mut running = spawn(&shared, listeners, control_socket, events, claim);
    if let Some(socket) = orders {
        running.services.spawn(incoming::serve(socket, Arc::clone(&shared)));
    }
    Ok((running, shared))
}

fn spawn(
    shared: &Shared,
    listeners: Vec<TcpListener>,
    control_socket: ControlSocket,
    events: Events,
    claim: Claim,
) -> Running {
    let mut services = JoinSet::new();
    let plane = shared.plane.clone();
    services.spawn(async move {
        plane.deliver(events).await;
    });
    let api = Arc::clone(shared);
    services.spawn(async move {
        if let Err(error) = server::serve(control_socket, api).await {
            error!(%error, "the control socket is gone");
        }
    });
    shared.clients.start(shared);
    if let Some(file) = shared.config.users_file.clone() {
        services.spawn(watch::watch(shared.users.clone(), file));
    }
    services.spawn(shared.lockouts.clone().serve());
    services.spawn(drain::serve(Arc::clone(shared)));
    services.spawn(shared.starting.clone().serve());
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(listener::serve(listener, Arc::clone(shared)));
    }
    Running { listeners: accepting, services, _claim: claim }
}

impl Running {
    /// Takes leave of all peers in good order, as far as time allows, then ends everything.
    async fn stop(mut self, shared: &Shared) {
        shared.stopping.send_replace(true);
        let patience = shared.config.limits.shutdown_timeout.duration();
        let clients = shared.clients.stop(patience);
        let all = async { while self.listeners.join_next().await.is_some() {} };
        let (left, ()) = tokio::join!(tokio::time::timeout(patience, all), clients);
        if left.is_err() {
            warn!(sessions = shared.sessions.count(), "some peers did not take leave in time");
        }
        self.listeners.shutdown().await;
        tokio::join!(
            shared.accounting.finish(patience),
            shared.hooks.finish(patience),
            shared.landmarks.finish(patience),
            shared.lists.finish(patience),
        );
        self.services.shutdown().await;
        shared.lockouts.write().await;
        let plane = shared.plane.clone();
        // Joins threads.
        let stopped = tokio::task::spawn_blocking(move || plane.handle().stop()).await;
        if let Err(error) = stopped {
            error!(%error, "the data plane did not stop in order");
        }
        info!("stopped");
    }
}

fn start_log(config: &Config) -> Result<(), StartError> {
    let filter = EnvFilter::try_new(&config.log_level)
        .map_err(|error| StartError::LogLevel(error.to_string()))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Human => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Each control connection is a descriptor; the usual 1024 are few.
fn raise_descriptor_limit(config: &Config) {
    match Descriptors::raise(config) {
        Ok(descriptors) if descriptors.suffice() => {}
        Ok(descriptors) => warn!("{descriptors}"),
        Err(error) => warn!(%error, "the limit of open files stays as it is"),
    }
}
