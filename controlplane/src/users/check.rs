//! What of a secret makes sense beside the configuration and the other users.

use super::secret::User;
use super::{MAX_COMMENT, MAX_NAME, Sources, UserError, Users};
use crate::config::is_for_hosts;
use crate::ipv6::{is_for_links, is_for_routers, is_for_subscribers};
use crate::terms::RemoteAddress;

impl Users {
    /// Refuses what makes no sense. `name` is the one that the user has in the database.
    pub(super) fn check(
        &self,
        sources: &Sources,
        user: &User,
        name: &str,
    ) -> Result<(), UserError> {
        let config = &self.0.config;
        let unshowable = |text: &str| text.chars().any(char::is_control);
        if user.name.is_empty() || user.name.len() > MAX_NAME || unshowable(&user.name) {
            return Err(UserError::Name);
        }
        // One that is there already can be changed in other ways; it cannot log in.
        let had = sources.stored.get(name).is_some_and(|before| before.credential.is_empty());
        if user.credential.is_empty() && !had {
            return Err(UserError::EmptyPassword(user.name.clone()));
        }
        if user.comment.len() > MAX_COMMENT || unshowable(&user.comment) {
            return Err(UserError::Comment);
        }
        if let Some(profile) = &user.profile
            && !config.profile.iter().any(|known| known.name == *profile)
        {
            return Err(UserError::Profile(profile.clone()));
        }
        if let Some(address) = user.local_address {
            if !is_for_hosts(address) {
                return Err(UserError::NoHost(address));
            }
            if !config.is_local_address(address)
                && let Some(pool) = config.pool_of(address)
            {
                return Err(UserError::LocalAddress(address, pool.name.clone()));
            }
        }
        match &user.remote_address {
            Some(RemoteAddress::Pool(pool)) if !config.has_pool(pool) => {
                return Err(UserError::Pool(pool.clone()));
            }
            Some(RemoteAddress::Address(address)) => {
                if !is_for_hosts(*address) {
                    return Err(UserError::NoHost(*address));
                }
                if config.is_local_address(*address) || user.local_address == Some(*address) {
                    return Err(UserError::Ours(*address));
                }
                // Few addresses are owned twice, so few users are looked through.
                let users = || sources.stored.values().chain(sources.in_file.values());
                let owner = sources.owned.contains_key(address).then(|| {
                    users()
                        .find(|other| other.name != name && other.own_address() == Some(*address))
                });
                if let Some(owner) = owner.flatten() {
                    return Err(UserError::Address(*address, owner.name.clone()));
                }
            }
            Some(RemoteAddress::Pool(_)) | None => {}
        }
        for route in &user.routes {
            config.accepts_route(route).map_err(UserError::Route)?;
        }
        let link = user.remote_ipv6_prefix.map(|prefix| is_for_links(prefix.0));
        let delegated = user.delegated_ipv6_prefix.map(|prefix| is_for_routers(prefix.0));
        let routes = user.ipv6_routes.iter().map(|prefix| is_for_subscribers(prefix.0));
        let usable: Result<(), String> = link.into_iter().chain(delegated).chain(routes).collect();
        usable.map_err(UserError::Route)?;
        Ok(())
    }
}
