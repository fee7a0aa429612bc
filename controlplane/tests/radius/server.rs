//! A RADIUS server that does what a test says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::radius::dictionary::USER_NAME;
use protocol::radius::{Attributes, Code, Packet, Secret, seal};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

pub fn secret() -> Secret {
    Secret::new(*b"testing123")
}

/// A request as the server got it.
#[derive(Debug, Clone)]
pub struct Request {
    pub octets: Vec<u8>,
    pub from: SocketAddr,
}

impl Request {
    pub fn packet(&self) -> Packet<'_> {
        Packet::parse(&self.octets).unwrap()
    }

    pub fn user(&self) -> String {
        String::from_utf8(self.packet().first(USER_NAME).unwrap_or_default().to_vec()).unwrap()
    }

    /// What the server answers, signed as it should be.
    pub fn answer(&self, code: Code, attributes: &Attributes) -> Vec<u8> {
        self.signed(code, attributes, code != Code::AccountingResponse)
    }

    pub fn signed(&self, code: Code, attributes: &Attributes, protected: bool) -> Vec<u8> {
        let packet = self.packet();
        let (identifier, authenticator) = (packet.identifier(), packet.authenticator());
        seal::response(code, identifier, &authenticator, attributes, protected, &secret()).unwrap()
    }

    pub fn accept(&self) -> Vec<u8> {
        self.answer(Code::AccessAccept, &Attributes::new())
    }
}

/// The server; it is gone when it is dropped.
pub struct Server {
    pub address: SocketAddr,
    got: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// A server that answers each request with these datagrams, in order.
    pub async fn start(
        mut script: impl FnMut(&Request, &[Request]) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let got: Arc<Mutex<Vec<Request>>> = Arc::default();
        let log = Arc::clone(&got);
        let task = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
                let request = Request { octets: buffer[..length].to_vec(), from };
                let before = log.lock().unwrap().clone();
                let answers = script(&request, &before);
                log.lock().unwrap().push(request);
                for answer in answers {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Self { address, got, task }
    }

    /// A server that says nothing.
    pub async fn silent() -> Self {
        Self::start(|_, _| Vec::new()).await
    }

    /// A server that accepts everybody.
    pub async fn friendly() -> Self {
        Self::start(|request, _| vec![request.accept()]).await
    }

    pub fn got(&self) -> Vec<Request> {
        self.got.lock().unwrap().clone()
    }

    /// Waits until so many requests came.
    pub async fn wait_for(&self, count: usize) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while self.got.lock().unwrap().len() < count {
            assert!(tokio::time::Instant::now() < deadline, "{} requests", self.got().len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Its section of the configuration.
    pub fn section(&self, more: &str) -> String {
        let port = self.address.port();
        format!(
            "[[radius]]\naddress = \"127.0.0.1\"\nsecret = \"testing123\"\n\
             authentication-port = {port}\naccounting-port = {port}\n{more}\n"
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
