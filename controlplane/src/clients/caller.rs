//! The task of one client: makes its interface, dials, waits, dials again, until it is told to end.
//!
//! The interface stays between calls, so that rules and routes that name it stay too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dataplane::api::{Device, Forward, Tap};
use protocol::ppp::auth::{Credential, Method};
use tokio::sync::watch;
use tracing::{info, warn};

use super::backoff::Backoff;
use super::status::Status;
use crate::bridging;
use crate::config::Client;
use crate::daemon::Shared;
use crate::dial::DialError;
use crate::dial::outgoing::{
    CONNECT_TIMEOUT, Ended, Outgoing, Progress, Settings, connect, resolve,
};
use crate::dial::routes::{DefaultRoute, Pins, Routes, Through};
use crate::terms::Terms;
use crate::text::printable;

/// From TCP to an address.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// A client's task.
pub(super) struct Caller {
    pub(super) shared: Shared,
    pub(super) settings: Arc<Client>,
    pub(super) status: Arc<Status>,
    pub(super) pins: Pins,
}

impl Caller {
    /// Dials until `stop` becomes true.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::default();
        let mut device = None;
        while !*stop.borrow() {
            self.status.dialing();
            let ended = self.call(&mut device, &mut stop).await;
            if *stop.borrow() {
                break;
            }
            let refused = matches!(ended, Err(DialError::Login(_)));
            let reason = ended.err().map_or_else(|| "ended".to_owned(), |error| error.to_string());
            let chance = getrandom::u32().unwrap_or_default();
            let pause = backoff.after(self.status.uptime(), refused, chance);
            warn!(
                client = self.settings.name,
                connect_to = self.settings.connect_to,
                user = printable(self.settings.user.as_bytes()),
                reason,
                next_call = format!("{:.1}s", pause.as_secs_f64()),
                "client terminated"
            );
            self.status.terminated(reason, Some(pause));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stopped(&mut stop) => break,
            }
        }
        info!(client = self.settings.name, "client stopped");
        self.status.disabled();
    }

    /// One call, from its name's address to its end.
    async fn call(
        &self,
        device: &mut Option<Device>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), DialError> {
        let prepared = async {
            let device = self.device(device).await?;
            let settings = self.call_settings(device).await?;
            let server = resolve(&self.settings.connect_to).await?;
            Ok::<_, DialError>((settings, server, connect(server, CONNECT_TIMEOUT).await?))
        };
        let (settings, server, stream) = tokio::select! {
            prepared = prepared => prepared?,
            () = stopped(stop) => return Ok(()),
        };
        let shared = &self.shared;
        let routes = Routes::new(shared.kernel.clone(), self.pins.clone());
        let watcher = |progress: Progress<'_>| self.note(&progress, server);
        let call = Outgoing::place(stream, &settings, &shared.plane, routes, watcher).await?;
        self.status.placed(server, call.tunnel());
        let stopped = std::pin::pin!(stopped(stop));
        let Ended { result, was_up, counters } = call.run(stopped).await;
        if was_up {
            info!(
                client = self.settings.name,
                %server,
                uptime = self.status.uptime().map(|up| up.as_secs()),
                rx_bytes = counters.rx_bytes,
                tx_bytes = counters.tx_bytes,
                lost = counters.lost,
                "client disconnected"
            );
        }
        result
    }

    /// The client's interface, made anew if somebody deleted it.
    async fn device(&self, device: &mut Option<Device>) -> Result<Device, DialError> {
        if let Some(device) = device.as_ref().filter(|device| device.exists()) {
            return Ok(device.clone());
        }
        // The name is free only once the last descriptor of the old one is closed.
        *device = None;
        let (handle, name) = (self.shared.plane.handle().clone(), self.settings.name.clone());
        let mtu = self.settings.mrru.inner_mtu(self.settings.max_mtu);
        let made = tokio::task::spawn_blocking(move || handle.device(&name, mtu)).await;
        let made = made.map_err(|error| DialError::System(error.into()))??;
        Ok(device.insert(made).clone())
    }

    async fn call_settings(&self, device: Device) -> Result<Settings, DialError> {
        let client = &self.settings;
        let terms = self.shared.profiles.get(&client.profile).ok_or_else(|| {
            let reason = format!("there is no profile `{}`", client.profile);
            DialError::System(std::io::Error::other(reason))
        })?;
        let default = client.add_default_route.then(|| {
            client.default_route_distance.map_or(DefaultRoute::First, DefaultRoute::Metric)
        });
        Ok(Settings {
            host_name: self.shared.host_name.clone(),
            user: client.user.clone(),
            credential: self.credential().await?,
            methods: client.allow.iter().copied().map(Method::from).collect(),
            encryption: terms.encryption,
            max_mtu: client.max_mtu,
            max_mru: client.max_mru,
            mrru: client.mrru,
            keepalive: client.keepalive_timeout.unless_zero(),
            login_timeout: LOGIN_TIMEOUT,
            clamp_mss: terms.clamp_mss,
            tap: self.tap(terms).await?,
            interface: device.name().to_owned(),
            forward: Forward::Device(device),
            through: Through { routes: client.routes.clone(), default },
        })
    }

    /// The profile's bridge is the client's too, as in RouterOS.
    async fn tap(&self, terms: &Terms) -> Result<Option<Tap>, DialError> {
        let Some(bridge) = &terms.bridge else { return Ok(None) };
        let name = format!("t-{}", self.settings.name).chars().take(bridging::MAX_NAME).collect();
        let made = bridging::attach(&self.shared.plane, &self.shared.kernel, name, bridge).await;
        made.map(Some).map_err(|reason| DialError::System(std::io::Error::other(reason)))
    }

    async fn credential(&self) -> Result<Credential, DialError> {
        if let Some(file) = &self.settings.password_file {
            let text = tokio::fs::read_to_string(file).await.map(zeroize::Zeroizing::new);
            let text = text.map_err(|error| {
                let reason = format!("password-file {}: {error}", file.display());
                DialError::System(std::io::Error::other(reason))
            })?;
            return Ok(Credential::of_password(text.lines().next().unwrap_or_default()));
        }
        let password = self.settings.password.as_ref();
        Ok(Credential::of_password(password.map_or("", |password| password.text())))
    }

    fn note(&self, progress: &Progress<'_>, server: SocketAddr) {
        let first = self.status.uptime().is_none();
        self.status.note(progress);
        if let Progress::RouteStays(destination) = progress {
            warn!(
                client = self.settings.name,
                %destination,
                "there is a route to it already: left alone"
            );
        }
        if let Progress::Up(network) = progress
            && first
        {
            info!(
                client = self.settings.name,
                %server,
                user = printable(self.settings.user.as_bytes()),
                address = %network.local,
                peer_address = %network.remote,
                mtu = network.mtu,
                "client connected"
            );
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}
