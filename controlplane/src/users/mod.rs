//! Users: who may in, kept in SQLite and in a watched file, answered from memory.
//!
//! [`Users`] is the memory; [`secret`] is what is known of a user, [`check`] what of it makes sense;
//! [`store`] is the database, which a daemon has to itself by [`claim`]; [`file`] and [`watch`] are
//! the users-file. A login reads memory alone and never waits for a disk.

pub mod charset;
mod check;
pub mod claim;
pub mod file;
pub mod secret;
pub mod store;
pub mod watch;
pub mod wire;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use charset::Charset;
pub use secret::{Change, User};
use serde::{Deserialize, Serialize};
use store::{Store, StoreError};

use crate::config::Config;
use crate::pool::Addresses;

/// Longest name of a user, bytes: a CHAP packet has hardly room for more.
pub const MAX_NAME: usize = 255;

/// Longest note, bytes.
pub const MAX_COMMENT: usize = 1024;

/// Where a user is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In SQLite.
    Database,
    /// In the users-file.
    File,
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
    /// A new user without a password.
    #[error("user `{0}` has no password: give `nt-hash`")]
    NoPassword(String),
    /// A password that everybody knows.
    #[error("user `{0}`: the password is empty: whoever knows the name could log in")]
    EmptyPassword(String),
    /// The clear password that is kept for CHAP-MD5 is another than the one of the hash.
    #[error(
        "user `{0}` may use CHAP-MD5, for which the clear password is kept: with a new password \
         say `--allow-chap yes` or `--allow-chap no`"
    )]
    Clear(String),
    /// The profile is not in the configuration.
    #[error("there is no profile `{0}` in the configuration")]
    Profile(String),
    /// The pool is not in the configuration.
    #[error("`{0}` is neither an IPv4 address nor a [[pool]] of the configuration")]
    Pool(String),
    /// No subscriber can have the address.
    #[error("no host can have the address {0}")]
    NoHost(Ipv4Addr),
    /// The address is our own.
    #[error("address {0} is this server's end of tunnels: no subscriber can have it")]
    Ours(Ipv4Addr),
    /// Another user has the address.
    #[error("address {0} belongs to user `{1}` already")]
    Address(Ipv4Addr, String),
    /// Our end of the tunnel would be a subscriber's address.
    #[error(
        "local-address {0} lies in pool `{1}`: give the address to a profile, which takes it out \
         of the pool, or choose another"
    )]
    LocalAddress(Ipv4Addr, String),
    /// A network that cannot be behind a subscriber.
    #[error("{0}")]
    Route(String),
    /// The note is too long, or cannot be shown safely.
    #[error("a comment has at most {MAX_COMMENT} bytes and no control characters")]
    Comment,
    /// The user is in the users-file.
    #[error("user `{0}` is kept in {1}: change it there")]
    InFile(String, PathBuf),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What to do with those users of an import that exist already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnConflict {
    /// Import nobody.
    #[default]
    Refuse,
    /// Leave them as they are.
    Skip,
    /// Replace them.
    Replace,
}

/// What an import did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Imported {
    /// New users.
    pub added: usize,
    /// Users that there were before.
    pub replaced: usize,
    /// Users left as they were.
    pub skipped: usize,
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
    config: Config,
}

#[derive(Debug)]
struct Sources {
    store: Store,
    stored: HashMap<String, Arc<User>>,
    in_file: HashMap<String, Arc<User>>,
    /// How many users name each address as their own.
    owned: HashMap<Ipv4Addr, u32>,
}

impl Users {
    /// Opens the database (and makes it where there is none). The users-file is read with
    /// [`Self::read_file`].
    ///
    /// # Errors
    /// If the database cannot be used.
    pub fn open(config: &Config, addresses: Addresses) -> Result<Self, UserError> {
        let store = Store::open(&config.database)?;
        let stored: HashMap<_, _> =
            store.all()?.into_iter().map(|user| (user.name.clone(), Arc::new(user))).collect();
        let sources = Sources { store, stored, in_file: HashMap::new(), owned: HashMap::new() };
        let users = Self(Arc::new(Inner {
            known: RwLock::default(),
            sources: Mutex::new(sources),
            addresses,
            config: config.clone(),
        }));
        users.publish_all(&mut users.sources());
        Ok(users)
    }

    /// The user whom a peer means by this name: exactly this one, else the one without the
    /// `DOMAIN\` that Windows puts in front; in UTF-8 or one of the code pages of `name-charset`.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<Arc<User>> {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        let charsets: &[Charset] = &self.0.config.server.name_charset;
        charsets.iter().filter_map(|charset| charset.decode(name)).find_map(|name| {
            known
                .get(&*name)
                .or_else(|| known.get(name.split_once('\\')?.1))
                .map(|(user, _)| Arc::clone(user))
        })
    }

    /// The user of exactly this name, and where it is kept.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<(Arc<User>, Source)> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
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
        self.import(vec![user], OnConflict::Refuse).map(drop)
    }

    /// Adds many users to the database: all, or none if it fails. Of two with the same name the
    /// later one counts. Waits for the disk.
    ///
    /// # Errors
    /// As [`Self::add`], for the first user that is refused.
    pub fn import(&self, users: Vec<User>, conflict: OnConflict) -> Result<Imported, UserError> {
        let mut sources = self.sources();
        let mut imported = Imported::default();
        let mut owners: HashMap<Ipv4Addr, String> = HashMap::new();
        let mut new: HashMap<String, User> =
            users.into_iter().map(|user| (user.name.clone(), user)).collect();
        if conflict == OnConflict::Skip {
            let all = new.len();
            new.retain(|name, _| {
                !sources.stored.contains_key(name) && !sources.in_file.contains_key(name)
            });
            imported.skipped = all - new.len();
        }
        for user in new.values() {
            if sources.stored.contains_key(&user.name) {
                if conflict == OnConflict::Refuse {
                    return Err(UserError::Exists(user.name.clone()));
                }
                imported.replaced += 1;
            } else {
                // The database counts before the file: the user's password would change silently.
                if conflict == OnConflict::Refuse
                    && sources.in_file.contains_key(&user.name)
                    && let Some(file) = &self.0.config.users_file
                {
                    return Err(UserError::InFile(user.name.clone(), file.clone()));
                }
                imported.added += 1;
            }
            self.check(&sources, user, &user.name)?;
            if let Some(address) = user.own_address()
                && let Some(owner) = owners.insert(address, user.name.clone())
            {
                return Err(UserError::Address(address, owner));
            }
        }
        sources.store.put(&new.values().collect::<Vec<_>>(), None)?;
        for user in new.into_values() {
            self.publish(&mut sources, user);
        }
        Ok(imported)
    }

    /// Changes a user of the database, and says what became of it. Waits for the disk.
    ///
    /// # Errors
    /// If there is no such user or the change makes no sense, or the database fails.
    pub fn change(&self, name: &str, change: Change) -> Result<Arc<User>, UserError> {
        let mut sources = self.sources();
        let mut user = User::clone(self.stored(&sources, name)?);
        change.apply(&mut user)?;
        let renamed = user.name != name;
        if renamed && sources.stored.contains_key(&user.name) {
            return Err(UserError::Exists(user.name));
        }
        self.check(&sources, &user, name)?;
        sources.store.put(&[&user], renamed.then_some(name))?;
        if renamed {
            self.withdraw(&mut sources, name);
        }
        Ok(self.publish(&mut sources, user))
    }

    /// Removes a user from the database. Waits for the disk.
    ///
    /// # Errors
    /// If there is no such user, or the database fails.
    pub fn remove(&self, name: &str) -> Result<(), UserError> {
        let mut sources = self.sources();
        self.stored(&sources, name)?;
        sources.store.remove(name)?;
        self.withdraw(&mut sources, name);
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
        // Whoever writes it anew has not written anything yet, or half a line.
        if users.is_empty() && !sources.in_file.is_empty() && (bytes.is_empty() || !bad.is_empty())
        {
            let reason = "it names nobody, and those of before stay: to remove them all, leave \
                          a comment in it";
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, reason));
        }
        sources.in_file.clear();
        for (line, user) in users {
            let reason = if sources.stored.contains_key(&user.name) {
                Some(format!("user `{}` is in the database too, which counts", user.name))
            } else {
                let name = user.name.clone();
                let before = sources.in_file.insert(name, Arc::new(user));
                before.map(|first| {
                    format!("user `{}` was given before: this line counts", first.name)
                })
            };
            bad.extend(reason.map(|reason| file::BadLine { line, reason }));
        }
        let read = sources.in_file.len();
        self.publish_all(&mut sources);
        Ok((read, bad))
    }

    fn stored<'a>(&self, sources: &'a Sources, name: &str) -> Result<&'a User, UserError> {
        sources.stored.get(name).map(|user| &**user).ok_or_else(|| {
            match (sources.in_file.contains_key(name), &self.0.config.users_file) {
                (true, Some(file)) => UserError::InFile(name.to_owned(), file.clone()),
                _ => UserError::Unknown(name.to_owned()),
            }
        })
    }

    /// Makes a user of the database visible to the next login.
    fn publish(&self, sources: &mut Sources, user: User) -> Arc<User> {
        let user = Arc::new(user);
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.insert(user.name.clone(), (Arc::clone(&user), Source::Database));
        sources.stored.insert(user.name.clone(), Arc::clone(&user));
        drop(known);
        let before = before.and_then(|(before, _)| before.own_address());
        if before != user.own_address() {
            self.disown(sources, before);
            self.own(sources, user.own_address());
        }
        user
    }

    /// Takes a user of the database away from the next login, or gives it the one of the file.
    fn withdraw(&self, sources: &mut Sources, name: &str) {
        let Some(user) = sources.stored.remove(name) else { return };
        let in_file = sources.in_file.get(name).map(|user| (Arc::clone(user), Source::File));
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        let now = in_file.as_ref().and_then(|(user, _)| user.own_address());
        match in_file {
            Some(user) => known.insert(name.to_owned(), user),
            None => known.remove(name),
        };
        drop(known);
        self.disown(sources, user.own_address());
        self.own(sources, now);
    }

    fn own(&self, sources: &mut Sources, address: Option<Ipv4Addr>) {
        let Some(address) = address else { return };
        *sources.owned.entry(address).or_default() += 1;
        self.0.addresses.reserve(address);
    }

    fn disown(&self, sources: &mut Sources, address: Option<Ipv4Addr>) {
        let Some(address) = address else { return };
        let Some(count) = sources.owned.get_mut(&address) else { return };
        *count -= 1;
        if *count == 0 {
            sources.owned.remove(&address);
            self.0.addresses.unreserve(address);
        }
    }

    /// Makes all users visible to the next login. Those of the database count before the file's.
    fn publish_all(&self, sources: &mut Sources) {
        let in_file = sources.in_file.iter().map(|(name, user)| (name, user, Source::File));
        let stored = sources.stored.iter().map(|(name, user)| (name, user, Source::Database));
        let known: HashMap<_, _> = in_file
            .chain(stored)
            .map(|(name, user, source)| (name.clone(), (Arc::clone(user), source)))
            .collect();
        let own: Vec<_> = known.values().map(|(user, _)| user.own_address()).collect();
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        let before: Vec<_> =
            sources.owned.iter().flat_map(|(a, n)| (0..*n).map(|_| Some(*a))).collect();
        // First the new ones: an address that stays is at no moment anybody's.
        for address in own {
            self.own(sources, address);
        }
        for address in before {
            self.disown(sources, address);
        }
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The profiles that users name but the configuration does not have.
    #[must_use]
    pub fn missing_profiles(&self) -> BTreeSet<String> {
        let profiles: HashSet<_> =
            self.0.config.profile.iter().map(|profile| &profile.name).collect();
        let users = self.list();
        let named = users.iter().filter_map(|(user, _)| user.profile.as_ref());
        named.filter(|profile| !profiles.contains(profile)).cloned().collect()
    }
}
