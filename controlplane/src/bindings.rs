//! Interfaces that users have to themselves: RouterOS's static entries of `/interface pptp-server`.
//!
//! The interface is there as long as the daemon is, so that rules and routes may name it; its line
//! is up while the user's session is. A user has as many sessions at once as interfaces: a further
//! one takes the place of the last, where RouterOS lets it pass beside all rules that name the
//! interface. Never says who may log in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dataplane::api::{Device, Handle, StartError};

use crate::api::types::BindingView;
use crate::config::{self, Config};

/// All bindings.
#[derive(Debug, Default)]
pub struct Bindings(Vec<Bound>);

#[derive(Debug)]
struct Bound {
    declared: config::Binding,
    /// `None`: it is disabled.
    device: Option<Device>,
    taken: Arc<AtomicBool>,
}

/// Why there is no interface for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused<'a> {
    /// The user has none.
    None,
    /// Another session has this one.
    Taken(&'a str),
}

/// A session has the interface. Dropping it gives the interface back.
#[derive(Debug)]
pub struct Claim {
    device: Device,
    taken: Arc<AtomicBool>,
}

impl Claim {
    /// The interface.
    #[must_use]
    pub const fn device(&self) -> &Device {
        &self.device
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.taken.store(false, Ordering::Release);
    }
}

impl Bindings {
    /// Makes the interfaces that are enabled. Waits for the kernel.
    ///
    /// # Errors
    /// If a name is taken already, or the system refuses.
    pub fn make(config: &Config, handle: &Handle) -> Result<Self, StartError> {
        let make = |declared: &config::Binding| {
            let make = || handle.device(&declared.name, config.server.max_mtu);
            let device = (!declared.disabled).then(make).transpose()?;
            Ok(Bound { declared: declared.clone(), device, taken: Arc::default() })
        };
        config.binding.iter().map(make).collect::<Result<_, _>>().map(Self)
    }

    /// An interface of the user's that is free.
    ///
    /// # Errors
    /// If the user has none, or all are taken.
    pub fn claim(&self, user: &str) -> Result<Claim, Refused<'_>> {
        let mut refused = Refused::None;
        for bound in self.0.iter().filter(|bound| bound.declared.user == user) {
            let Some(device) = bound.device.clone() else { continue };
            if !bound.taken.swap(true, Ordering::AcqRel) {
                return Ok(Claim { device, taken: Arc::clone(&bound.taken) });
            }
            refused = Refused::Taken(&bound.declared.name);
        }
        Err(refused)
    }

    /// All as the API shows them.
    #[must_use]
    pub fn views(&self) -> Vec<BindingView> {
        let view = |bound: &Bound| BindingView {
            name: bound.declared.name.clone(),
            user: bound.declared.user.clone(),
            disabled: bound.declared.disabled,
            running: bound.taken.load(Ordering::Acquire),
            comment: bound.declared.comment.clone(),
        };
        self.0.iter().map(view).collect()
    }
}
