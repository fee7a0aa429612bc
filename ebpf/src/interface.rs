//! What the kernel knows about a network interface before the program is attached to it: its index
//! and the XDP program that it has already. Asks by rtnetlink, which needs no privilege. Never
//! changes an interface.

use std::io;

use aya::programs::loaded_programs;
use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// The XDP program that is attached to an interface, in words for an operator.
pub(crate) fn attached_program(ifindex: u32) -> io::Result<Option<String>> {
    Ok(attached_program_id(ifindex)?.map(|id| match program_name(id) {
        Some(name) => format!("program {id} (`{name}`)"),
        None => format!("program {id}"),
    }))
}

fn attached_program_id(ifindex: u32) -> io::Result<Option<u32>> {
    let mut link = LinkMessage::default();
    link.header.index = ifindex;
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetLink(link));
    request.header.flags = NLM_F_REQUEST;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);

    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;

    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    match answer.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(program_id(&link)),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

fn program_id(link: &LinkMessage) -> Option<u32> {
    let attributes = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(attributes) => Some(attributes),
        _ => None,
    })?;
    attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id)
        | LinkXdp::DrvProgId(id)
        | LinkXdp::SkbProgId(id)
        | LinkXdp::HwProgId(id) => Some(*id),
        _ => None,
    })
}

/// The kernel tells names of programs to CAP_SYS_ADMIN only.
fn program_name(id: u32) -> Option<String> {
    loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned))
}
