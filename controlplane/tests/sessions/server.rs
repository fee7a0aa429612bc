//! The daemon without its command line, on loopback, with a data plane whose ports end in the
//! test: TCP is real, GRE packets and subscribers' packets are datagrams.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use controlplane::config::Config;
use controlplane::daemon::{Daemon, Shared, listener};
use controlplane::kernel::Kernel;
use controlplane::pool::Addresses;
use controlplane::users::{User, Users};
use dataplane::api::config::PortReport;
use dataplane::api::{self, Role};
use dataplane::frame::Region;
use dataplane::{Attachment, DataPlane, Kind};
use protocol::mschap::NtHash;
use protocol::ppp::auth::Credential;
use tempfile::TempDir;
use tokio::net::{TcpSocket, UnixDatagram};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::wire::Wire;

/// Long enough for any honest step on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Whose packets go where: by the peer's address and Call ID.
type Peers = Arc<Mutex<HashMap<(Ipv4Addr, u16), mpsc::UnboundedSender<Vec<u8>>>>>;

/// A daemon that runs.
pub struct Server {
    pub daemon: Shared,
    pub address: SocketAddr,
    /// The world behind the subscribers' concentrator.
    pub core: UnixDatagram,
    gre: Arc<UnixDatagram>,
    peers: Peers,
    listener: JoinHandle<()>,
    _held: TcpSocket,
    _folder: TempDir,
}

impl Server {
    /// A daemon of this configuration; paths and addresses are the test's. Its users are `ivan`
    /// and `anna`, with the passwords `ivan-secret` and `anna-secret`.
    pub async fn start(settings: &str) -> Self {
        Self::start_with(settings, |_| ()).await
    }

    /// The same with a part of it changed before it serves.
    pub async fn start_with(settings: &str, change: impl FnOnce(&mut Daemon)) -> Self {
        let folder = TempDir::new().unwrap();
        let mut config = Config::parse(settings).unwrap();
        config.database = folder.path().join("users.db");
        let addresses = Addresses::new(&config);
        let users = Users::open(&config, addresses.clone()).unwrap();
        for name in ["ivan", "anna"] {
            users.add(user(name)).unwrap();
        }
        let (raw, gre) = Wire::new().unwrap();
        let (tun, core) = Wire::new().unwrap();
        let region = Region::new(4096).unwrap();
        let attach = |name: &str, kind, port: Wire, role| Attachment {
            kind,
            report: PortReport {
                name: name.to_owned(),
                driver: "test",
                queue: 0,
                role,
                lines: Vec::new(),
                mode: String::new(),
            },
            port: Box::new(port),
            lines: Vec::new(),
        };
        let ports = vec![vec![
            attach("gre", Kind::Raw, raw, Role::Access),
            attach("tun", Kind::Tun, tun, Role::Core),
        ]];
        let (handle, events) = DataPlane::launch(&api::Config::default(), region, ports).unwrap();
        let kernel = Kernel::connect().unwrap();
        let mut daemon = Daemon::new(config, users, addresses, kernel, handle).unwrap();
        change(&mut daemon);
        let daemon = Arc::new(daemon);

        let plane = daemon.plane.clone();
        tokio::spawn(async move { plane.deliver(events).await });
        // A port that the daemon names, as it does in earnest, and that nobody else gets meanwhile.
        let held = TcpSocket::new_v4().unwrap();
        held.set_reuseaddr(true).unwrap();
        held.bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = held.local_addr().unwrap();
        let port = SocketAddrV4::new(Ipv4Addr::LOCALHOST, address.port());
        let socket = listener::bind(port).unwrap();
        let listener = tokio::spawn(listener::serve(socket, Arc::clone(&daemon)));
        let gre = Arc::new(UnixDatagram::from_std(gre).unwrap());
        let peers = Peers::default();
        tokio::spawn(deliver(Arc::clone(&gre), Arc::clone(&peers)));
        Self {
            daemon,
            address,
            core: UnixDatagram::from_std(core).unwrap(),
            gre,
            peers,
            listener,
            _held: held,
            _folder: folder,
        }
    }

    /// Where packets go that the daemon sends to this peer and Call ID.
    pub fn plug_in(&self, peer: Ipv4Addr, call_id: u16) -> mpsc::UnboundedReceiver<Vec<u8>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.peers.lock().unwrap().insert((peer, call_id), sender);
        receiver
    }

    /// The peers' way to the daemon: whole IP packets with GRE.
    pub fn gre(&self) -> Arc<UnixDatagram> {
        Arc::clone(&self.gre)
    }

    /// How often that happened.
    pub fn count(&self, name: &str) -> u64 {
        let stats = self.daemon.stats();
        stats.control.get(name).or_else(|| stats.drops.get(name)).copied().unwrap()
    }

    /// Waits for a state of the daemon.
    pub async fn until(&self, what: &str, reached: impl Fn(&Daemon) -> bool) {
        let wait = async {
            while !reached(&self.daemon) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "{what} was not reached: {:#?}", self.daemon.stats());
    }

    /// Nothing is left of any call: no session, no tunnel, no address.
    pub async fn until_empty(&self) {
        let size = |daemon: &Daemon| daemon.addresses.usage()[0].clone();
        self.until("emptiness", |daemon| {
            daemon.sessions.count() == 0 && size(daemon).free == size(daemon).size
        })
        .await;
    }

    /// Stops it, and waits until all connections have ended.
    pub async fn stop(self) {
        self.daemon.stopping.send_replace(true);
        tokio::time::timeout(PATIENCE, self.listener).await.unwrap().unwrap();
    }
}

/// A user whose password is the name and `-secret`.
pub fn user(name: &str) -> User {
    User::new(name, Credential::of_hash(NtHash::of_password(&format!("{name}-secret"))))
}

/// Brings the daemon's GRE packets to whom they are for.
async fn deliver(gre: Arc<UnixDatagram>, peers: Peers) {
    let mut buffer = [0; 4096];
    while let Ok(len) = gre.recv(&mut buffer).await {
        let packet = &buffer[..len];
        let peer = Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]);
        let Ok((header, frame)) = protocol::gre::Header::parse(&packet[20..]) else { continue };
        if let Some(peer) = peers.lock().unwrap().get(&(peer, header.call_id))
            && header.sequence.is_some()
        {
            let _ = peer.send(frame.to_vec());
        }
    }
}
