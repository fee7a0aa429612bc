//! The daemon's own calls: tunnels that we dial, RouterOS's `/interface pptp-client`.
//!
//! A client has an interface of its name for as long as it is enabled, and a task that dials, waits
//! after a failure and dials again. Clients of the configuration file are the file's to change;
//! those that commands add are kept in SQLite.
//!
//! | module | what |
//! |---|---|
//! | `backoff` | how long to wait before the next call |
//! | `caller` | the task of one client |
//! | `status` | what is known of a client |

mod backoff;
mod caller;
mod status;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::api::clients::{ClientChange, ClientView};
use crate::config::{Client, Config};
use crate::daemon::Shared;
use crate::dial::routes::Pins;
use crate::host::interface_exists;
use crate::kept::{Kept, Store, StoreError};
use status::Status;

/// Why clients were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is one of that name.
    #[error("client `{0}` exists already: change it with `penstock client set`")]
    Exists(String),
    /// There is none of that name.
    #[error("there is no client `{0}`")]
    Unknown(String),
    /// The configuration file declares it.
    #[error("client `{0}` is declared in the configuration file: change it there")]
    Declared(String),
    /// Something about it makes no sense.
    #[error("{0}")]
    Senseless(String),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where a client is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In the configuration file.
    File,
    /// In SQLite.
    Database,
}

impl Kept for Client {
    const TABLE: &'static str = "client";

    fn name(&self) -> &str {
        &self.name
    }
}

/// All clients.
#[derive(Debug)]
pub struct Clients {
    /// Held through a change, `known` only for moments: whoever asks waits for no disk.
    store: Mutex<Store<Client>>,
    known: Mutex<BTreeMap<String, Entry>>,
    /// Ways to servers that tunnels must not swallow.
    pins: Pins,
}

#[derive(Debug)]
struct Entry {
    settings: Arc<Client>,
    source: Source,
    status: Arc<Status>,
    task: Option<Task>,
}

/// A client's task.
#[derive(Debug)]
struct Task {
    stop: watch::Sender<bool>,
    done: JoinHandle<()>,
}

impl Task {
    /// Tells it to end; the value ends when it has.
    fn end(self) -> JoinHandle<()> {
        self.stop.send_replace(true);
        self.done
    }
}

impl Clients {
    /// Those that the configuration declares and those of the database. None is dialled yet.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub fn open(config: &Config) -> Result<Self, StoreError> {
        let store = Store::open(&file(config))?;
        let mut known = BTreeMap::new();
        let declared = config.client.iter().map(|client| (client.clone(), Source::File));
        let stored = store.all()?.into_iter().map(|client| (client, Source::Database));
        for (client, source) in declared.chain(stored) {
            if known.contains_key(&client.name) {
                warn!(
                    client = client.name,
                    "the configuration file declares it: the stored one rests"
                );
                continue;
            }
            known.insert(client.name.clone(), Entry::new(client, source));
        }
        Ok(Self { store: Mutex::new(store), known: Mutex::new(known), pins: Pins::default() })
    }

    /// Whether one has the name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        lock(&self.known).contains_key(name)
    }

    /// Dials all that are enabled.
    pub fn start(&self, shared: &Shared) {
        for entry in lock(&self.known).values_mut() {
            entry.start(shared, None);
        }
    }

    /// Takes leave of all servers, for as long as `patience` lasts.
    pub async fn stop(&self, patience: Duration) {
        let tasks: Vec<_> =
            lock(&self.known).values_mut().filter_map(|entry| entry.task.take()).collect();
        let ending: Vec<_> = tasks.into_iter().map(Task::end).collect();
        let all = futures_util::future::join_all(ending);
        if tokio::time::timeout(patience, all).await.is_err() {
            warn!("some servers did not agree to the end of their calls in time");
        }
    }

    /// All as the API shows them, by name.
    #[must_use]
    pub fn views(&self, shared: &Shared) -> Vec<ClientView> {
        let view = |entry: &Entry| entry.status.view(&entry.settings, entry.source, &shared.plane);
        lock(&self.known).values().map(view).collect()
    }

    /// The next of RouterOS's names that no client has.
    fn free_name(known: &BTreeMap<String, Entry>) -> String {
        let mut number = 1_u32;
        loop {
            let name = format!("pptp-out{number}");
            if !known.contains_key(&name) {
                return name;
            }
            number += 1;
        }
    }

    /// Adds a client to the database, and dials if it is enabled. Returns its name, which is the
    /// next free `pptp-outN` if none is given. Waits for the disk.
    ///
    /// # Errors
    /// If there is one of that name or something about it makes no sense, or the database fails.
    pub fn add(&self, mut client: Client, shared: &Shared) -> Result<String, ClientError> {
        let mut store = lock(&self.store);
        if client.name.is_empty() {
            client.name = Self::free_name(&lock(&self.known));
        }
        if self.has(&client.name) {
            return Err(ClientError::Exists(client.name));
        }
        check(&client, shared)?;
        is_free(&client, shared).map_err(ClientError::Senseless)?;
        store.put(&client)?;
        let name = client.name.clone();
        let mut known = lock(&self.known);
        let entry = known.entry(name.clone()).or_insert(Entry::new(client, Source::Database));
        entry.start(shared, None);
        Ok(name)
    }

    /// Changes a client of the database; a call that is up ends, and the next one is as it says.
    /// Waits for the disk.
    ///
    /// # Errors
    /// If there is no such client, the file declares it, or the change makes no sense.
    pub fn change(
        &self,
        name: &str,
        change: ClientChange,
        shared: &Shared,
    ) -> Result<(), ClientError> {
        let mut store = lock(&self.store);
        let mut client = Client::clone(&stored(&mut lock(&self.known), name)?.settings);
        change.apply(&mut client);
        check(&client, shared)?;
        store.put(&client)?;
        let mut known = lock(&self.known);
        let entry = stored(&mut known, name)?;
        entry.settings = Arc::new(client);
        let before = entry.task.take().map(Task::end);
        entry.start(shared, before);
        Ok(())
    }

    /// Removes a client from the database; a call that is up ends. Waits for the disk.
    ///
    /// # Errors
    /// If there is no such client, or the file declares it.
    pub fn remove(&self, name: &str) -> Result<(), ClientError> {
        let mut store = lock(&self.store);
        stored(&mut lock(&self.known), name)?;
        store.remove(name)?;
        let mut known = lock(&self.known);
        let entry = stored(&mut known, name)?;
        if let Some(task) = entry.task.take() {
            // It takes leave of its server by itself.
            drop(task.end());
        }
        known.remove(name);
        Ok(())
    }
}

impl Entry {
    fn new(client: Client, source: Source) -> Self {
        Self { settings: Arc::new(client), source, status: Arc::default(), task: None }
    }

    /// Dials, if it is enabled, once the task `before` has ended.
    fn start(&mut self, shared: &Shared, before: Option<JoinHandle<()>>) {
        if self.settings.disabled {
            self.status.disabled();
            return;
        }
        let (stop, stopped) = watch::channel(false);
        let caller = caller::Caller {
            shared: Arc::clone(shared),
            settings: Arc::clone(&self.settings),
            status: Arc::clone(&self.status),
            pins: shared.clients.pins.clone(),
        };
        let done = tokio::spawn(async move {
            if let Some(before) = before {
                // However it ended, its interface is free now.
                let _ = before.await;
            }
            caller.run(stopped).await;
        });
        self.task = Some(Task { stop, done });
    }
}

fn stored<'a>(
    known: &'a mut BTreeMap<String, Entry>,
    name: &str,
) -> Result<&'a mut Entry, ClientError> {
    match known.get_mut(name) {
        Some(entry) if entry.source == Source::File => Err(ClientError::Declared(name.to_owned())),
        Some(entry) => Ok(entry),
        None => Err(ClientError::Unknown(name.to_owned())),
    }
}

fn check(client: &Client, shared: &Shared) -> Result<(), ClientError> {
    let profile_exists = |name: &str| shared.profiles.contains_key(name);
    client.check(profile_exists).map_err(ClientError::Senseless)?;
    if client.name == shared.config.dataplane.tun {
        let reason = format!("`{}` is the data plane's own interface", client.name);
        return Err(ClientError::Senseless(reason));
    }
    Ok(())
}

/// Nobody else has the name of its interface, now or when a binding is enabled.
fn is_free(client: &Client, shared: &Shared) -> Result<(), String> {
    let name = &client.name;
    if shared.bindings.has(name) {
        return Err(format!("there is a binding `{name}`, whose interface has the name"));
    }
    if interface_exists(name) {
        return Err(format!("there is an interface named {name} already"));
    }
    Ok(())
}

/// The database of clients, beside the users'.
#[must_use]
pub fn file(config: &Config) -> PathBuf {
    config.database.with_file_name("clients.db")
}

/// What these locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
