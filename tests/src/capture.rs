//! Capture of a link into a pcap file, and what can be proved from it.
//! The decoding of the control connection is tshark's, an implementation independent of ours.
//! Never drops a frame silently: the socket's buffer holds more than a test sends.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail, ensure};
use protocol::ppp::frame::Protocol;
use protocol::pptp::message::Kind;
use protocol::pptp::stream::Splitter;
use protocol::{gre, mppe, ppp};
use tempfile::TempDir;

use crate::netns::Namespace;
use crate::packet::{Direction, PacketSocket};

const ETHERNET_HEADER: usize = 14;
const PROTOCOL_GRE: u8 = 47;
/// A quiet link this long after the request to end has nothing more to give.
const QUIET: Duration = Duration::from_millis(50);

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    directory: TempDir,
    path: PathBuf,
    ending: Ending,
    writer: JoinHandle<Result<Vec<Vec<u8>>>>,
}

/// Tells the writer to end, at the latest when it is dropped.
#[derive(Debug)]
struct Ending(Arc<AtomicBool>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Capture {
    /// Captures what passes on a link in both directions from now on.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn start(namespace: &Namespace, link: &str) -> Result<Self> {
        let socket = PacketSocket::open(namespace, link, Direction::Both)?;
        let directory = TempDir::new()?;
        let path = directory.path().join("link.pcap");
        let file = BufWriter::new(File::create(&path)?);
        let ending = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ending);
        let writer = std::thread::spawn(move || write_frames(&socket, file, &flag));
        Ok(Self { directory, path, ending: Ending(ending), writer })
    }

    /// Ends the capture when the link is quiet.
    ///
    /// # Errors
    /// When the file could not be written.
    pub fn finish(self) -> Result<Trace> {
        let Self { directory, path, ending, writer } = self;
        drop(ending);
        let frames = writer.join().map_err(|_| anyhow!("the capture's thread died"))??;
        Ok(Trace { _directory: directory, path, frames })
    }
}

/// What passed on a link.
#[derive(Debug)]
pub struct Trace {
    _directory: TempDir,
    path: PathBuf,
    frames: Vec<Vec<u8>>,
}

impl Trace {
    /// All frames, in the order of capture.
    pub fn frames(&self) -> &[Vec<u8>] {
        &self.frames
    }

    /// How many frames hold these bytes anywhere.
    pub fn holding(&self, bytes: &[u8]) -> usize {
        self.frames.iter().filter(|frame| contains(frame, bytes)).count()
    }

    /// GRE packets (header and payload, RFC 2637 §4.1), without the IP header.
    pub fn gre(&self) -> impl Iterator<Item = &[u8]> {
        self.frames.iter().filter_map(|frame| gre_of(frame))
    }

    /// The PPTP control messages in the order of capture, by the RFC's abbreviations.
    ///
    /// # Errors
    /// When tshark finds anything to complain about in the control connection (a malformed
    /// message, or octets that are none), or when what follows in a segment is no message.
    pub fn control_messages(&self) -> Result<Vec<&'static str>> {
        let complaints = self.tshark(
            "tcp.port == 1723 && (_ws.malformed || (pptp && _ws.expert.severity >= 6291456))",
            &["frame.number", "_ws.expert.message"],
        )?;
        ensure!(
            complaints.is_empty(),
            "tshark complains of the control connection: {complaints:?}"
        );
        let undecoded =
            self.tshark("tcp.port == 1723 && tcp.len > 0 && !pptp", &["frame.number"])?;
        ensure!(undecoded.is_empty(), "tshark sees no PPTP message in frames {undecoded:?}");

        // tshark decodes the first message of a segment alone: here they are all listed.
        let fields = ["tcp.stream", "tcp.srcport", "tcp.payload"];
        let mut streams: HashMap<(String, String), Splitter> = HashMap::new();
        let mut names = Vec::new();
        for segment in self.tshark("pptp && !tcp.analysis.retransmission", &fields)? {
            let mut fields = segment.split('\t').map(str::to_owned);
            let (Some(stream), Some(port), Some(payload)) =
                (fields.next(), fields.next(), fields.next())
            else {
                bail!("tshark printed {segment:?}");
            };
            let octets = octets_of(&payload)?;
            let splitter = streams.entry((stream, port)).or_default();
            let mut input = octets.as_slice();
            while let Some(message) = splitter.next(&mut input) {
                names.push(abbreviation(message?.kind()));
            }
        }
        Ok(names)
    }

    /// One line for each frame that the display filter lets through: its fields, by tabs.
    ///
    /// # Errors
    /// When tshark is not there or refuses the filter.
    pub fn tshark(&self, filter: &str, fields: &[&str]) -> Result<Vec<String>> {
        let mut command = Command::new("tshark");
        command.arg("-r").arg(&self.path).args(["-n", "-Y", filter, "-T", "fields"]);
        for field in fields {
            command.args(["-e", field]);
        }
        let output = command.output().context("starting tshark")?;
        if !output.status.success() {
            bail!("tshark: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }
}

/// Octets that tshark prints as hexadecimal digits.
fn octets_of(digits: &str) -> Result<Vec<u8>> {
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect()
}

/// As RFC 2637 abbreviates the names of its messages.
fn abbreviation(kind: Kind) -> &'static str {
    match kind {
        Kind::StartRequest => "SCCRQ",
        Kind::StartReply => "SCCRP",
        Kind::StopRequest => "StopCCRQ",
        Kind::StopReply => "StopCCRP",
        Kind::EchoRequest => "Echo-Request",
        Kind::EchoReply => "Echo-Reply",
        Kind::OutgoingCallRequest => "OCRQ",
        Kind::OutgoingCallReply => "OCRP",
        Kind::IncomingCallRequest => "ICRQ",
        Kind::IncomingCallReply => "ICRP",
        Kind::IncomingCallConnected => "ICCN",
        Kind::CallClearRequest => "CCRQ",
        Kind::CallDisconnectNotify => "CDN",
        Kind::WanErrorNotify => "WEN",
        Kind::SetLinkInfo => "SLI",
    }
}

fn write_frames(
    socket: &PacketSocket,
    mut file: impl Write,
    ending: &AtomicBool,
) -> Result<Vec<Vec<u8>>> {
    // pcap: magic of microsecond times, version 2.4, zone, accuracy, longest frame, Ethernet.
    file.write_all(&0xA1B2_C3D4_u32.to_le_bytes())?;
    file.write_all(&2_u16.to_le_bytes())?;
    file.write_all(&4_u16.to_le_bytes())?;
    for word in [0_u32, 0, 65535, 1] {
        file.write_all(&word.to_le_bytes())?;
    }
    let mut frames = Vec::new();
    let mut buffer = vec![0; 65535];
    loop {
        match socket.receive(&mut buffer, QUIET) {
            Ok(Some(length)) => {
                let frame = &buffer[..length];
                let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
                for word in [
                    u32::try_from(since.as_secs())?,
                    since.subsec_micros(),
                    u32::try_from(length)?,
                    u32::try_from(length)?,
                ] {
                    file.write_all(&word.to_le_bytes())?;
                }
                file.write_all(frame)?;
                frames.push(frame.to_vec());
            }
            Ok(None) if ending.load(Ordering::Relaxed) => break,
            Ok(None) => {}
            // The link went down or away: what passed before stays.
            Err(_) => break,
        }
    }
    file.flush()?;
    Ok(frames)
}

fn contains(frame: &[u8], bytes: &[u8]) -> bool {
    !bytes.is_empty() && frame.windows(bytes.len()).any(|window| window == bytes)
}

/// The PPP protocol and the payload of an Ethernet frame that carries a tunnel's data packet.
pub fn ppp_of(frame: &[u8]) -> Option<(Protocol, &[u8])> {
    let (header, payload) = gre::Header::parse(gre_of(frame)?).ok()?;
    header.sequence?;
    ppp::frame::parse(payload).ok()
}

/// MPPE's header of an Ethernet frame that carries an encrypted packet.
pub fn mppe_of(frame: &[u8]) -> Option<mppe::Header> {
    let (protocol, payload) = ppp_of(frame)?;
    let octets = payload.first_chunk().filter(|_| protocol == Protocol::COMPRESSED)?;
    Some(mppe::Header::from_octets(*octets))
}

fn gre_of(frame: &[u8]) -> Option<&[u8]> {
    let ethertype = frame.get(12..ETHERNET_HEADER)?;
    let packet = frame.get(ETHERNET_HEADER..)?;
    let first = *packet.first()?;
    if ethertype != [0x08, 0x00] || first >> 4 != 4 || *packet.get(9)? != PROTOCOL_GRE {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    packet.get(usize::from(first & 0x0F) * 4..length)
}
