//! Asks the kernel by rtnetlink while a data plane is put together. Never keeps a socket.

use std::io;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::LinkMessage;
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

/// What the kernel said.
pub(super) fn reason(error: &Error) -> io::Error {
    match error {
        Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}
