//! The command line's end of the API: HTTP over the daemon's unix socket.

use std::io;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::types::Refusal;

/// Why the daemon gave no answer that helps.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("penstock is not running (nobody listens on {0})")]
    NotRunning(PathBuf),
    /// We may not use the socket.
    #[error("{0}: permission denied (try as root)")]
    Denied(PathBuf),
    /// What was asked for does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The daemon refuses, with a reason.
    #[error("{0}")]
    Refused(String),
    /// The connection broke or the answer is no answer.
    #[error("the daemon gave no proper answer: {0}")]
    Broken(String),
}

/// One daemon's API.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The daemon that listens on this socket. Nothing is connected yet.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Asks and gives the answer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &Q,
    ) -> Result<A, ClientError> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| self.no_way(&error))?;
        let broken = |error: &dyn std::error::Error| ClientError::Broken(error.to_string());
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "penstock")
            .header("content-type", "application/json")
            .body(Full::<Bytes>::from(serde_json::to_vec(body).map_err(|error| broken(&error))?))
            .map_err(|error| broken(&error))?;
        let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| broken(&error));
        }
        let reason = serde_json::from_slice::<Refusal>(&bytes)
            .map_or_else(|_| String::from_utf8_lossy(&bytes).into_owned(), |refusal| refusal.error);
        Err(match status {
            StatusCode::NOT_FOUND => ClientError::NotFound(reason),
            _ => ClientError::Refused(reason),
        })
    }

    fn no_way(&self, error: &io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning(self.socket.clone())
            }
            io::ErrorKind::PermissionDenied => ClientError::Denied(self.socket.clone()),
            _ => ClientError::Broken(error.to_string()),
        }
    }
}
