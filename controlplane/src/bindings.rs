//! Interfaces that users have to themselves: RouterOS's static entries of `/interface pptp-server`.
//!
//! The interface is there as long as it is enabled, so that rules and routes may name it; its line
//! is up while the user's session is. A user has as many sessions at once as interfaces: a further
//! one takes the place of the last, where RouterOS lets it pass beside all rules that name the
//! interface. Bindings of the configuration file are the file's to change; those that commands add
//! are kept in SQLite. Never says who may log in.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dataplane::api::{Device, Handle, StartError};
use tracing::warn;

use crate::api::types::{BindingChange, BindingView};
use crate::config::{self, Config, interface_name};
use crate::kept::{Kept, Store, StoreError};

impl Kept for config::Binding {
    const TABLE: &'static str = "binding";

    fn name(&self) -> &str {
        &self.name
    }
}

/// Why bindings were not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum BindingError {
    /// There is one of that name.
    #[error("binding `{0}` exists already: change it with `penstock binding set`")]
    Exists(String),
    /// There is none of that name.
    #[error("there is no binding `{0}`")]
    Unknown(String),
    /// The configuration file declares it.
    #[error("binding `{0}` is declared in the configuration file: change it there")]
    Declared(String),
    /// Something about it makes no sense.
    #[error("{0}")]
    Senseless(String),
    /// The interface cannot be made.
    #[error(transparent)]
    Device(#[from] StartError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All bindings.
#[derive(Debug)]
pub struct Bindings {
    /// Held through a change: whoever logs in meanwhile waits for no disk.
    store: Mutex<Store<config::Binding>>,
    known: Mutex<Vec<Bound>>,
    handle: Handle,
    mtu: u16,
}

#[derive(Debug)]
struct Bound {
    binding: config::Binding,
    is_declared: bool,
    /// `None`: it is disabled.
    device: Option<Device>,
    taken: Arc<AtomicBool>,
}

/// Why there is no interface for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The user has none.
    None,
    /// Another session has this one.
    Taken(String),
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
    /// Makes the interfaces that are enabled, of the configuration and of the database. Waits for
    /// the kernel.
    ///
    /// # Errors
    /// If a name of the configuration is taken already, or the system or the database refuses.
    pub fn open(config: &Config, handle: Handle) -> Result<Self, BindingError> {
        let store = Store::open(&file(config))?;
        let stored = store.all()?;
        let bindings = Self {
            store: Mutex::new(store),
            known: Mutex::default(),
            handle,
            mtu: config.server.max_mtu,
        };
        let mut known = Vec::new();
        for declared in &config.binding {
            known.push(bindings.bound(declared.clone(), true)?);
        }
        for binding in stored {
            if known.iter().any(|bound| bound.binding.name == binding.name) {
                warn!(
                    binding = binding.name,
                    "the configuration file declares it: the stored one rests"
                );
                continue;
            }
            let name = binding.name.clone();
            let disabled = config::Binding { disabled: true, ..binding.clone() };
            match bindings.bound(binding, false) {
                Ok(bound) => known.push(bound),
                // What commands added keeps nobody from serving.
                Err(error) => {
                    warn!(binding = name, %error, "there is no interface");
                    known.push(bindings.bound(disabled, false)?);
                }
            }
        }
        *lock(&bindings.known) = known;
        Ok(bindings)
    }

    fn bound(&self, binding: config::Binding, is_declared: bool) -> Result<Bound, BindingError> {
        let device = self.device(&binding)?;
        Ok(Bound { binding, is_declared, device, taken: Arc::default() })
    }

    fn device(&self, binding: &config::Binding) -> Result<Option<Device>, BindingError> {
        let make = || self.handle.device(&binding.name, self.mtu);
        Ok((!binding.disabled).then(make).transpose()?)
    }

    /// An interface of the user's that is free.
    ///
    /// # Errors
    /// If the user has none, or all are taken.
    pub fn claim(&self, user: &str) -> Result<Claim, Refused> {
        let mut refused = Refused::None;
        for bound in lock(&self.known).iter().filter(|bound| bound.binding.user == user) {
            let Some(device) = bound.device.clone() else { continue };
            if !bound.taken.swap(true, Ordering::AcqRel) {
                return Ok(Claim { device, taken: Arc::clone(&bound.taken) });
            }
            refused = Refused::Taken(bound.binding.name.clone());
        }
        Err(refused)
    }

    /// Whether one has the name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        lock(&self.known).iter().any(|bound| bound.binding.name == name)
    }

    /// All as the API shows them.
    #[must_use]
    pub fn views(&self) -> Vec<BindingView> {
        let view = |bound: &Bound| BindingView {
            name: bound.binding.name.clone(),
            user: bound.binding.user.clone(),
            disabled: bound.binding.disabled,
            running: bound.taken.load(Ordering::Acquire),
            comment: bound.binding.comment.clone(),
            source: if bound.is_declared { "configuration" } else { "database" }.to_owned(),
        };
        lock(&self.known).iter().map(view).collect()
    }

    /// Adds a binding to the database and makes its interface. Returns its name, which is the next
    /// free `pptp-inN` if none is given. The user's next session has it. Waits for disk and kernel.
    ///
    /// # Errors
    /// If there is one of that name or something about it makes no sense, or the system refuses.
    pub fn add(&self, mut binding: config::Binding) -> Result<String, BindingError> {
        let mut store = lock(&self.store);
        let exists = |name: &str| self.has(name);
        if binding.name.is_empty() {
            let names = (1_u32..).map(|number| format!("pptp-in{number}"));
            binding.name = names.into_iter().find(|name| !exists(name)).unwrap_or_default();
        }
        if exists(&binding.name) {
            return Err(BindingError::Exists(binding.name));
        }
        check(&binding)?;
        let bound = self.bound(binding, false)?;
        store.put(&bound.binding)?;
        let name = bound.binding.name.clone();
        lock(&self.known).push(bound);
        Ok(name)
    }

    /// Changes a binding of the database. Says whether a session that has it may have it no longer.
    /// Waits for disk and kernel.
    ///
    /// # Errors
    /// If there is no such binding, the file declares it, or the system refuses.
    pub fn change(&self, name: &str, change: BindingChange) -> Result<bool, BindingError> {
        let mut store = lock(&self.store);
        let (at, mut binding, had) = {
            let known = lock(&self.known);
            let at = stored(&known, name)?;
            (at, known[at].binding.clone(), known[at].device.clone())
        };
        let before = binding.user.clone();
        let BindingChange { user, disabled, comment } = change;
        binding.user = user.unwrap_or(binding.user);
        binding.disabled = disabled.unwrap_or(binding.disabled);
        binding.comment = comment.unwrap_or(binding.comment);
        check(&binding)?;
        let is_other = binding.user != before || binding.disabled;
        let device = match had.filter(|_| !binding.disabled) {
            None => self.device(&binding)?,
            kept => kept,
        };
        store.put(&binding)?;
        let bound = &mut lock(&self.known)[at];
        (bound.binding, bound.device) = (binding, device);
        Ok(is_other)
    }

    /// Removes a binding from the database, and its interface once no session has it. Waits for
    /// the disk.
    ///
    /// # Errors
    /// If there is no such binding, or the file declares it.
    pub fn remove(&self, name: &str) -> Result<(), BindingError> {
        let mut store = lock(&self.store);
        let at = stored(&lock(&self.known), name)?;
        store.remove(name)?;
        lock(&self.known).remove(at);
        Ok(())
    }
}

fn stored(known: &[Bound], name: &str) -> Result<usize, BindingError> {
    let found = known.iter().position(|bound| bound.binding.name == name);
    let at = found.ok_or_else(|| BindingError::Unknown(name.to_owned()))?;
    if known[at].is_declared { Err(BindingError::Declared(name.to_owned())) } else { Ok(at) }
}

fn check(binding: &config::Binding) -> Result<(), BindingError> {
    interface_name(&binding.name).map_err(BindingError::Senseless)?;
    if binding.user.is_empty() || binding.user.len() > crate::users::MAX_NAME {
        let reason = format!("binding `{}`: `user` has 1 to 255 bytes", binding.name);
        return Err(BindingError::Senseless(reason));
    }
    Ok(())
}

/// The database of bindings, beside the users'.
#[must_use]
pub fn file(config: &Config) -> PathBuf {
    config.database.with_file_name("bindings.db")
}

/// What these locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
