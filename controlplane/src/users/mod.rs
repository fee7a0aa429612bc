//! Users: who may in, kept in SQLite and in a watched file, answered from memory.
//!
//! [`Users`] is the memory; [`store`] is the database, which a daemon has to itself by [`claim`];
//! [`file`] and [`watch`] are the users-file. A login reads memory alone and never waits for a
//! disk. No clear password is kept, only its NT hash.

pub mod claim;
pub mod file;
pub mod store;
pub mod watch;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use protocol::mschap::NtHash;

use crate::config::{Config, is_for_hosts};
use crate::pool::Addresses;
use store::{Store, StoreError};

/// Longest name of a user, bytes: a CHAP packet has hardly room for more.
pub const MAX_NAME: usize = 255;

/// Who may in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name, as the peer sends it (less a `DOMAIN\`).
    pub name: String,
    /// Hash of the password.
    pub nt_hash: NtHash,
    /// The profile; `None` is the server's `default-profile`.
    pub profile: Option<String>,
    /// An address of the user's own; `None` is one of the profile's pool.
    pub remote_address: Option<Ipv4Addr>,
    /// Refused until enabled again.
    pub disabled: bool,
    /// The operator's note.
    pub comment: String,
}

/// Where a user is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In SQLite.
    Database,
    /// In the users-file.
    File,
}

/// What to change of a user. `None` leaves as it is.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Another password.
    pub nt_hash: Option<NtHash>,
    /// Another profile, or none.
    pub profile: Option<Option<String>>,
    /// Another address, or none.
    pub remote_address: Option<Option<Ipv4Addr>>,
    /// Refused or not.
    pub disabled: Option<bool>,
    /// Another note.
    pub comment: Option<String>,
}

/// Why users could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// There is one of that name.
    #[error("user `{0}` exists already: change it with `penstock user set`")]
    Exists(String),
    /// There is none of that name.
    #[error("there is no user `{0}`")]
    Unknown(String),
    /// The name cannot be sent by any peer, or not be shown safely.
    #[error("a user name has 1 to {MAX_NAME} bytes and no control characters")]
    Name,
    /// The profile is not in the configuration.
    #[error("there is no profile `{0}` in the configuration")]
    Profile(String),
    /// No subscriber can have the address.
    #[error("no host can have the address {0}")]
    NoHost(Ipv4Addr),
    /// Another user has the address.
    #[error("address {0} belongs to user `{1}` already")]
    Address(Ipv4Addr, String),
    /// The user is in the users-file.
    #[error("user `{0}` is kept in {1}: change it there")]
    InFile(String, PathBuf),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All users, in memory. Clones share it.
#[derive(Debug, Clone)]
pub struct Users(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What a login reads.
    known: RwLock<HashMap<String, (Arc<User>, Source)>>,
    /// Held while users change, so that memory and database change in the same order.
    sources: Mutex<Sources>,
    /// Told which addresses belong to users.
    addresses: Addresses,
    profiles: HashSet<String>,
    file_name: PathBuf,
}

#[derive(Debug)]
struct Sources {
    store: Store,
    stored: HashMap<String, User>,
    in_file: HashMap<String, User>,
}

impl Users {
    /// Opens the database (and makes it where there is none). The users-file is read with
    /// [`Self::read_file`].
    ///
    /// # Errors
    /// If the database cannot be used.
    pub fn open(config: &Config, addresses: Addresses) -> Result<Self, UserError> {
        let store = Store::open(&config.database)?;
        let stored = store
            .all()?
            .into_iter()
            .map(|user| (user.name.clone(), user))
            .collect::<HashMap<_, _>>();
        let users = Self(Arc::new(Inner {
            known: RwLock::default(),
            sources: Mutex::new(Sources { store, stored, in_file: HashMap::new() }),
            addresses,
            profiles: config.profile.iter().map(|profile| profile.name.clone()).collect(),
            file_name: config.users_file.clone().unwrap_or_default(),
        }));
        users.publish(&users.sources());
        Ok(users)
    }

    /// The user whom a peer means by this name: exactly this one, else the one without the
    /// `DOMAIN\` that Windows puts in front.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<Arc<User>> {
        let name = std::str::from_utf8(name).ok()?;
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        known
            .get(name)
            .or_else(|| known.get(name.split_once('\\')?.1))
            .map(|(user, _)| Arc::clone(user))
    }

    /// All users by name.
    #[must_use]
    pub fn list(&self) -> Vec<(Arc<User>, Source)> {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> = known.values().cloned().collect();
        list.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        list
    }

    /// Whether there is nobody who could log in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Adds a user to the database. Waits for the disk.
    ///
    /// # Errors
    /// If the user exists or something about it makes no sense, or the database fails.
    pub fn add(&self, user: User) -> Result<(), UserError> {
        let mut sources = self.sources();
        if sources.stored.contains_key(&user.name) {
            return Err(UserError::Exists(user.name));
        }
        self.check(&sources, &user)?;
        sources.store.put(&user)?;
        sources.stored.insert(user.name.clone(), user);
        self.publish(&sources);
        Ok(())
    }

    /// Changes a user of the database. Waits for the disk.
    ///
    /// # Errors
    /// If there is no such user or the change makes no sense, or the database fails.
    pub fn change(&self, name: &str, change: Change) -> Result<(), UserError> {
        let mut sources = self.sources();
        let mut user = self.stored(&sources, name)?.clone();
        user.nt_hash = change.nt_hash.unwrap_or(user.nt_hash);
        user.profile = change.profile.unwrap_or(user.profile);
        user.remote_address = change.remote_address.unwrap_or(user.remote_address);
        user.disabled = change.disabled.unwrap_or(user.disabled);
        user.comment = change.comment.unwrap_or(user.comment);
        self.check(&sources, &user)?;
        sources.store.put(&user)?;
        sources.stored.insert(user.name.clone(), user);
        self.publish(&sources);
        Ok(())
    }

    /// Removes a user from the database. Waits for the disk.
    ///
    /// # Errors
    /// If there is no such user, or the database fails.
    pub fn remove(&self, name: &str) -> Result<(), UserError> {
        let mut sources = self.sources();
        self.stored(&sources, name)?;
        sources.store.remove(name)?;
        sources.stored.remove(name);
        self.publish(&sources);
        Ok(())
    }

    /// Reads the users-file, and replaces what it said before. Returns how many users it has, and
    /// for each line that makes no sense why; the others count nevertheless.
    ///
    /// # Errors
    /// If the file cannot be read; then what it said before stays.
    pub fn read_file(&self, file: &Path) -> std::io::Result<(usize, Vec<file::BadLine>)> {
        let bytes = zeroize::Zeroizing::new(std::fs::read(file)?);
        let (users, mut bad) = file::parse(&bytes);
        let mut sources = self.sources();
        sources.in_file.clear();
        for (line, user) in users {
            if sources.stored.contains_key(&user.name) {
                bad.push(file::BadLine {
                    line,
                    reason: format!("user `{}` is in the database too, which counts", user.name),
                });
            } else if let Some(first) = sources.in_file.insert(user.name.clone(), user) {
                bad.push(file::BadLine {
                    line,
                    reason: format!("user `{}` was given before: this line counts", first.name),
                });
            }
        }
        let read = sources.in_file.len();
        self.publish(&sources);
        Ok((read, bad))
    }

    fn stored<'a>(&self, sources: &'a Sources, name: &str) -> Result<&'a User, UserError> {
        sources.stored.get(name).ok_or_else(|| {
            if sources.in_file.contains_key(name) {
                UserError::InFile(name.to_owned(), self.0.file_name.clone())
            } else {
                UserError::Unknown(name.to_owned())
            }
        })
    }

    fn check(&self, sources: &Sources, user: &User) -> Result<(), UserError> {
        if user.name.is_empty()
            || user.name.len() > MAX_NAME
            || user.name.chars().any(char::is_control)
        {
            return Err(UserError::Name);
        }
        if let Some(profile) = &user.profile
            && !self.0.profiles.contains(profile)
        {
            return Err(UserError::Profile(profile.clone()));
        }
        if let Some(address) = user.remote_address {
            if !is_for_hosts(address) {
                return Err(UserError::NoHost(address));
            }
            let owner = sources
                .stored
                .values()
                .chain(sources.in_file.values())
                .find(|other| other.name != user.name && other.remote_address == Some(address));
            if let Some(owner) = owner {
                return Err(UserError::Address(address, owner.name.clone()));
            }
        }
        Ok(())
    }

    /// Makes the change visible to the next login.
    fn publish(&self, sources: &Sources) {
        let of = |users: &HashMap<String, User>, source| {
            users
                .iter()
                .map(|(name, user)| (name.clone(), (Arc::new(user.clone()), source)))
                .collect::<HashMap<_, _>>()
        };
        let mut known = of(&sources.in_file, Source::File);
        known.extend(of(&sources.stored, Source::Database));
        let reserved = known.values().filter_map(|(user, _)| user.remote_address).collect();
        self.0.addresses.reserve(reserved);
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The profiles that users name but the configuration does not have.
    #[must_use]
    pub fn missing_profiles(&self) -> BTreeSet<String> {
        let users = self.list();
        let named = users.iter().filter_map(|(user, _)| user.profile.as_ref());
        named.filter(|profile| !self.0.profiles.contains(*profile)).cloned().collect()
    }
}
