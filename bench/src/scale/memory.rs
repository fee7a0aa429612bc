//! What a session costs a daemon in memory: its own, and the kernel's for its sockets.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::load::{Load, Plan, calls_needed};

use crate::dial::Users;
use crate::dial::cost::Cost;
use crate::dial::scene::{SERVER, Scene};

/// Dials that are under way at a time.
const AT_ONCE: usize = 64;
/// Nobody waits for longer for all clients to be up.
const LIMIT: Duration = Duration::from_secs(900);

/// Octets for each of so many sessions that are up together, over what the daemon was without any.
///
/// # Errors
/// Without root, or when not all sessions came up or stayed.
pub fn octets_per_session(sessions: u16) -> Result<f64> {
    let clients = usize::from(sessions);
    let mut scene = Scene::new(Users::Local, clients, 0)?;
    let before = Cost::of(&mut scene.server)?;
    // Where there are too few descriptors, several calls share a connection.
    let plan = Plan::steady(SERVER, clients, AT_ONCE).with_calls(calls_needed(clients));
    let load = Load::start(&scene.clients, plan)?;
    load.wait_up(LIMIT)?;
    let up = Cost::of(&mut scene.server)?;
    let tally = load.stop();
    ensure!(tally.lost == 0, "{} sessions were lost: {:?}", tally.lost, tally.failures);
    let total = |cost: Cost| cost.resident + cost.sockets;
    Ok(total(up).saturating_sub(total(before)) as f64 / f64::from(sessions))
}
