//! The daemon's end of the API.
//!
//! The socket's mode is 0600: who may connect is root or the daemon's own user, and may do all.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path as Segment, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::sys::stat::{Mode, fchmod};
use tokio::net::{UnixListener, UnixStream};
use tracing::warn;

use super::clients::{Added, ClientChange, ClientView};
use super::types::{
    Applied, Apply, BindingChange, BindingView, Cleared, Disconnected, DrainOrder, Draining,
    Import, LockoutSelector, LockoutView, Refusal, Selector, SessionChange, SessionSet, Stats,
    UserView,
};
use crate::aaa::live;
use crate::bindings::BindingError;
use crate::clients::ClientError;
use crate::config::{Binding, Client};
use crate::daemon::Shared;
use crate::daemon::drain::Plan;
use crate::daemon::ending::Ending;
use crate::users::{Change, Imported, UserError};

/// Most bytes of an import: some 100,000 users.
const MAX_IMPORT: usize = 64 << 20;

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A daemon listens on it.
    #[error("another penstock is running: it listens on {0}")]
    InUse(PathBuf),
    /// The system refuses.
    #[error("control socket {path}: {error}")]
    System {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// The open socket. Its file goes with it, so that nobody connects to it in vain, however the
/// daemon's start or its life ends in good order.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    file: SocketFile,
}

#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            warn!(socket = %self.0.display(), %error, "control socket stays");
        }
    }
}

/// Opens the socket, in place of one that a dead daemon left.
///
/// # Errors
/// If a daemon listens on it or the system refuses.
pub async fn bind(path: &Path) -> Result<ControlSocket, SocketError> {
    let failed = |error| SocketError::System { path: path.to_owned(), error };
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed)?;
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(SocketError::InUse(path.to_owned()));
    }
    // Only a socket is removed: a slip in the configuration must not cost a file.
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        fs::remove_file(path).map_err(failed)?;
    }
    let listener = restricted(path).map_err(failed)?;
    Ok(ControlSocket { listener, file: SocketFile(path.to_owned()) })
}

/// The mode is set before the name exists, so that at no moment others could connect.
fn restricted(path: &Path) -> io::Result<UnixListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    socket::listen(&socket, Backlog::MAXCONN)?;
    UnixListener::from_std(std::os::unix::net::UnixListener::from(socket))
}

/// Answers until the future is dropped.
pub async fn serve(socket: ControlSocket, shared: Shared) -> io::Result<()> {
    let ControlSocket { listener, file: _file } = socket;
    let router = Router::new()
        .route("/v1/users", get(list_users).post(add_user))
        .route("/v1/users/import", post(import_users).layer(DefaultBodyLimit::max(MAX_IMPORT)))
        .route("/v1/users/{name}", get(show_user).patch(change_user).delete(remove_user))
        .route("/v1/sessions", get(list_sessions))
        .route("/v1/sessions/disconnect", post(disconnect))
        .route("/v1/sessions/set", post(set_sessions))
        .route("/v1/lockouts", get(list_lockouts))
        .route("/v1/lockouts/clear", post(clear_lockouts))
        .route("/v1/bindings", get(list_bindings).post(add_binding))
        .route("/v1/bindings/{name}", patch(change_binding).delete(remove_binding))
        .route("/v1/clients", get(list_clients).post(add_client))
        .route("/v1/clients/{name}", patch(change_client).delete(remove_client))
        .route("/v1/drain", post(drain))
        .route("/v1/stats", get(stats))
        .with_state(shared);
    axum::serve(listener, router).await
}

struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(Refusal { error: self.1 })).into_response()
    }
}

impl From<UserError> for Failure {
    fn from(error: UserError) -> Self {
        let status = match &error {
            UserError::Exists(_) | UserError::InFile(..) | UserError::Address(..) => {
                StatusCode::CONFLICT
            }
            UserError::Unknown(_) => StatusCode::NOT_FOUND,
            UserError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Self(status, error.to_string())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let status = match &error {
            ClientError::Exists(_) | ClientError::Declared(_) => StatusCode::CONFLICT,
            ClientError::Unknown(_) => StatusCode::NOT_FOUND,
            ClientError::Senseless(_) => StatusCode::BAD_REQUEST,
            ClientError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

impl From<BindingError> for Failure {
    fn from(error: BindingError) -> Self {
        let status = match &error {
            BindingError::Exists(_) | BindingError::Declared(_) => StatusCode::CONFLICT,
            BindingError::Unknown(_) => StatusCode::NOT_FOUND,
            BindingError::Senseless(_) | BindingError::Device(_) => StatusCode::BAD_REQUEST,
            BindingError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

type Answer<T> = Result<Json<T>, Failure>;

async fn list_users(State(shared): State<Shared>) -> Result<Response, Failure> {
    // Of many it takes a while, and logins shall not wait for this thread meanwhile.
    blocking(move || {
        let users = shared.users.list();
        let views = users.iter().map(|(user, source)| UserView::new(user, *source));
        Ok::<_, Failure>(Json(views.collect::<Vec<_>>()).into_response())
    })
    .await
}

async fn show_user(
    State(shared): State<Shared>,
    Segment(name): Segment<String>,
) -> Answer<UserView> {
    let (user, source) = shared.users.get(&name).ok_or(UserError::Unknown(name))?;
    Ok(Json(UserView::new(&user, source)))
}

async fn add_user(
    State(shared): State<Shared>,
    body: Result<Json<Change>, JsonRejection>,
) -> Answer<()> {
    let Json(new) = body?;
    Ok(Json(blocking(move || shared.users.add(new.into_user()?)).await?))
}

async fn import_users(
    State(shared): State<Shared>,
    body: Result<Json<Import>, JsonRejection>,
) -> Answer<Imported> {
    let Json(Import { users, on_conflict }) = body?;
    let users = users.into_iter().map(Change::into_user).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(blocking(move || shared.users.import(users, on_conflict)).await?))
}

async fn change_user(
    State(shared): State<Shared>,
    Segment(name): Segment<String>,
    Query(Apply { apply }): Query<Apply>,
    body: Result<Json<Change>, JsonRejection>,
) -> Answer<Applied> {
    let Json(change) = body?;
    let (users, changed) = (shared.users.clone(), name.clone());
    blocking(move || users.change(&changed, change)).await?;
    Ok(Json(applied(&shared, &name, apply).await))
}

async fn remove_user(
    State(shared): State<Shared>,
    Segment(name): Segment<String>,
    Query(Apply { apply }): Query<Apply>,
) -> Answer<Applied> {
    let (users, removed) = (shared.users.clone(), name.clone());
    blocking(move || users.remove(&removed)).await?;
    Ok(Json(applied(&shared, &name, apply).await))
}

async fn applied(shared: &Shared, name: &str, apply: bool) -> Applied {
    if apply { live::follow(shared, name).await } else { Applied::default() }
}

async fn list_sessions(State(shared): State<Shared>) -> Result<Response, Failure> {
    // Of many it takes a while, too.
    blocking(move || {
        let views = shared.sessions.views_with_terms(&shared.session_ids);
        Ok::<_, Failure>(Json(views).into_response())
    })
    .await
}

async fn disconnect(
    State(shared): State<Shared>,
    body: Result<Json<Selector>, JsonRejection>,
) -> Answer<Disconnected> {
    let Json(selector) = body?;
    if selector.is_empty() {
        let reason = "say which sessions: id, user, address, peer-address or all";
        return Err(Failure(StatusCode::BAD_REQUEST, reason.to_owned()));
    }
    match shared.sessions.disconnect(&selector, &Ending::Operator) {
        0 => Err(Failure(StatusCode::NOT_FOUND, "there is no such session".to_owned())),
        disconnected => Ok(Json(Disconnected { disconnected })),
    }
}

async fn list_lockouts(State(shared): State<Shared>) -> Json<Vec<LockoutView>> {
    Json(shared.lockouts.list().into_iter().map(LockoutView::from).collect())
}

async fn clear_lockouts(
    State(shared): State<Shared>,
    body: Result<Json<LockoutSelector>, JsonRejection>,
) -> Answer<Cleared> {
    let Json(selector) = body?;
    let all = selector.all;
    let Some(which) = selector.which() else {
        let reason = "say which lock: address, user or all";
        return Err(Failure(StatusCode::BAD_REQUEST, reason.to_owned()));
    };
    match shared.lockouts.clear(&which) {
        0 if !all => Err(Failure(StatusCode::NOT_FOUND, "there is no such lock".to_owned())),
        cleared => Ok(Json(Cleared { cleared })),
    }
}

async fn list_bindings(State(shared): State<Shared>) -> Json<Vec<BindingView>> {
    Json(shared.bindings.views())
}

async fn add_binding(
    State(shared): State<Shared>,
    body: Result<Json<Binding>, JsonRejection>,
) -> Answer<Added> {
    let Json(binding) = body?;
    let added = move || {
        if shared.clients.has(&binding.name) {
            let reason =
                format!("there is a client `{}`, whose interface has the name", binding.name);
            return Err(BindingError::Senseless(reason));
        }
        shared.bindings.add(binding).map(|name| Added { name })
    };
    Ok(Json(blocking(added).await?))
}

async fn change_binding(
    State(shared): State<Shared>,
    Segment(name): Segment<String>,
    body: Result<Json<BindingChange>, JsonRejection>,
) -> Answer<()> {
    let Json(change) = body?;
    let (daemon, changed) = (Arc::clone(&shared), name.clone());
    if blocking(move || daemon.bindings.change(&changed, change)).await? {
        end_session_on(&shared, &name);
    }
    Ok(Json(()))
}

async fn remove_binding(
    State(shared): State<Shared>,
    Segment(name): Segment<String>,
) -> Answer<()> {
    let (daemon, removed) = (Arc::clone(&shared), name.clone());
    blocking(move || daemon.bindings.remove(&removed)).await?;
    end_session_on(&shared, &name);
    Ok(Json(()))
}

/// Ends the session that has an interface which it may have no longer: its packets pass it until
/// then, as rules that name it expect.
fn end_session_on(shared: &Shared, interface: &str) {
    for session in shared.sessions.all() {
        if session.facts().interface.as_deref() == Some(interface) {
            session.disconnect(Ending::Operator);
        }
    }
}

async fn list_clients(State(shared): State<Shared>) -> Json<Vec<ClientView>> {
    Json(shared.clients.views(&shared))
}

async fn add_client(
    State(shared): State<Shared>,
    body: Result<Json<Client>, JsonRejection>,
) -> Answer<Added> {
    let Json(client) = body?;
    let added = move || shared.clients.add(client, &shared).map(|name| Added { name });
    Ok(Json(blocking(added).await?))
}

async fn change_client(
    State(shared): State<Shared>,
    Segment(name): Segment<String>,
    body: Result<Json<ClientChange>, JsonRejection>,
) -> Answer<()> {
    let Json(change) = body?;
    Ok(Json(blocking(move || shared.clients.change(&name, change, &shared)).await?))
}

async fn remove_client(State(shared): State<Shared>, Segment(name): Segment<String>) -> Answer<()> {
    Ok(Json(blocking(move || shared.clients.remove(&name)).await?))
}

async fn set_sessions(
    State(shared): State<Shared>,
    body: Result<Json<SessionSet>, JsonRejection>,
) -> Answer<Applied> {
    let Json(set) = body?;
    if set.sessions.is_empty() || set.change == SessionChange::default() {
        let reason = "say which sessions (id, user, address, peer-address or all) and what to set";
        return Err(Failure(StatusCode::BAD_REQUEST, reason.to_owned()));
    }
    let changed = live::set(&shared, &set)
        .await
        .map_err(|reason| Failure(StatusCode::BAD_REQUEST, reason))?;
    match changed {
        0 => Err(Failure(StatusCode::NOT_FOUND, "there is no such session".to_owned())),
        changed => Ok(Json(Applied { changed, disconnected: 0 })),
    }
}

/// Sessions that are disconnected a second, if nobody says how many: their clients dial somewhere.
const DRAIN_RATE: u32 = 100;

async fn drain(
    State(shared): State<Shared>,
    body: Result<Json<DrainOrder>, JsonRejection>,
) -> Answer<Draining> {
    let Json(DrainOrder { stop, disconnect_after, rate }) = body?;
    let rate = rate.unwrap_or(DRAIN_RATE);
    if rate == 0 {
        let reason = "a rate of 0 disconnects nobody".to_owned();
        return Err(Failure(StatusCode::BAD_REQUEST, reason));
    }
    let after =
        disconnect_after.map(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
    // A time beyond all clocks is never.
    shared.drain.set((!stop).then_some(Plan { disconnect_at: after.flatten(), rate }));
    Ok(Json(Draining { draining: !stop, sessions: shared.sessions.count() }))
}

async fn stats(State(shared): State<Shared>) -> Json<Stats> {
    Json(shared.stats())
}

/// Changes of users and clients wait for the disk: not on a thread that drives sessions.
async fn blocking<T, E>(
    change: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Into<Failure> + Send + 'static,
{
    match tokio::task::spawn_blocking(change).await {
        Ok(done) => done.map_err(Into::into),
        Err(error) => Err(Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}
