//! Workers that their caller turns, on threads and by a clock of its own: for benches, which must
//! know what a turn costs.
//!
//! They are the workers that the threads of [`DataPlane::start`] turn. Never sleeps.

use std::sync::Arc;
use std::time::Duration;

use protocol::time::Instant;

use super::{Assembled, Attachment, DataPlane, check};
use crate::api::handle::Machinery;
use crate::api::{Config, Handle, StartError};
use crate::frame::Region;
use crate::mppe::Cipher;
use crate::route::Routes;
use crate::stage::Stage;
use crate::worker::{Turn, Worker};

/// A worker that does nothing by itself.
pub struct ManualWorker(Worker);

impl std::fmt::Debug for ManualWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManualWorker").finish_non_exhaustive()
    }
}

impl ManualWorker {
    /// One round: receive, take orders, process, send. `true` if there was anything to do.
    pub fn turn(&mut self, now: Instant) -> bool {
        self.0.turn(now) == Turn::Busy
    }

    /// Measures what each stage costs, from now on and from zero, or no more.
    pub fn measure_stages(&mut self, on: bool) {
        self.0.measure_stages(on);
    }

    /// What was measured so far.
    #[must_use]
    pub fn stages(&self) -> Vec<(Stage, Duration)> {
        self.0.watch().spent()
    }

    /// What packets are encrypted and decrypted with from now on.
    pub fn set_cipher(&mut self, cipher: Cipher) {
        self.0.set_cipher(cipher);
    }
}

impl DataPlane {
    /// Makes workers with ports and routes that the caller made, one list of ports for each, and
    /// starts none of them. The control plane's events go nowhere.
    ///
    /// # Errors
    /// If the configuration is out of range or the system refuses descriptors.
    pub fn by_hand(
        config: &Config,
        region: &'static Region,
        ports: Vec<Vec<Attachment>>,
        routes: Arc<Routes>,
    ) -> Result<(Handle, Vec<ManualWorker>), StartError> {
        check(config)?;
        let machinery = Machinery::default();
        let Assembled { handle, workers, .. } =
            Self::assemble(config, region, ports, machinery, Some(routes))?;
        Ok((handle, workers.into_iter().map(|(worker, _)| ManualWorker(worker)).collect()))
    }
}
