//! Asks the kernel by rtnetlink while a data plane is put together. Never keeps a socket.

use std::io;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{InfoData, InfoVrf, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::{Error, Handle};

use crate::api::StartError;

/// Runs a conversation to its end. `what` says what it is about where it cannot begin.
pub(super) fn converse<T: Send>(
    what: &str,
    conversation: impl AsyncFnOnce(Handle) -> Result<T, StartError> + Send,
) -> Result<T, StartError> {
    let system = |source: io::Error| StartError::system(what, source);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
    let talk = move || {
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().map_err(system)?;
            tokio::spawn(connection);
            conversation(handle).await
        })
    };
    // The caller may be a task of another runtime, in which this one must not block.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netlink".to_owned())
            .spawn_scoped(scope, talk)
            .map_err(system)?;
        thread.join().unwrap_or_else(|_| Err(system(io::Error::other("the thread panicked"))))
    })
}

/// All interfaces of the network namespace.
pub(super) fn links() -> Result<Vec<LinkMessage>, StartError> {
    const WHAT: &str = "asking the kernel for its interfaces";
    converse(WHAT, async |handle| {
        let links = handle.link().get().execute().try_collect().await;
        links.map_err(|error| StartError::system(WHAT, reason(&error)))
    })
}

/// The number of a VRF's table.
pub(super) fn table_of(links: &[LinkMessage], vrf: &str) -> Option<u32> {
    let is_named = |link: &&LinkMessage| {
        link.attributes.iter().any(|it| matches!(it, LinkAttribute::IfName(name) if name == vrf))
    };
    let infos = links.iter().find(is_named)?.attributes.iter().find_map(|it| match it {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    })?;
    let data = infos.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vrf(data)) => Some(data),
        _ => None,
    })?;
    data.iter().find_map(|info| match info {
        InfoVrf::TableId(number) => Some(*number),
        _ => None,
    })
}

/// What the kernel said.
pub(super) fn reason(error: &Error) -> io::Error {
    match error {
        Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::InfoKind;

    use super::*;

    #[test]
    fn a_vrf_is_known_by_its_name_and_nothing_else_is_one() {
        let link = |name: &str, info| {
            let mut link = LinkMessage::default();
            link.attributes.push(LinkAttribute::IfName(name.to_owned()));
            link.attributes.push(LinkAttribute::LinkInfo(vec![info]));
            link
        };
        let links = [
            link("dummy0", LinkInfo::Kind(InfoKind::Dummy)),
            link("blue", LinkInfo::Data(InfoData::Vrf(vec![InfoVrf::TableId(10)]))),
        ];
        assert_eq!(table_of(&links, "blue"), Some(10));
        assert_eq!(table_of(&links, "dummy0"), None);
        assert_eq!(table_of(&links, "red"), None);
    }
}
