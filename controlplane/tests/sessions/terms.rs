//! What a session is given and held to, and how that changes while it lives.

use std::time::Duration;

use controlplane::daemon::session::NotChanged;
use protocol::ppp::ccp;

use super::peer::{Caller, Peer};
use super::server::Server;

#[tokio::test]
async fn terms_change_while_the_session_lives_and_whoever_asked_is_told() {
    let server = Server::start("").await;
    let mut peer = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    peer.log_in(7).await.unwrap();
    let session = server.daemon.sessions.all().remove(0);
    let before = session.terms().unwrap();
    assert_eq!((before.user.as_str(), before.profile.as_str()), ("ivan", "default"));
    let timeout = Duration::from_secs(600);
    session.change_terms(|terms| terms.session_timeout = Some(timeout)).await.unwrap();
    session.change_terms(|terms| terms.clamp_mss = false).await.unwrap();
    let after = session.terms().unwrap();
    assert_eq!((after.session_timeout, after.clamp_mss), (Some(timeout), false));
    let mut other = Peer::connect(&server, Caller::new(3, "anna", "anna-secret")).await;
    other.call(7).await;
    let beginning = server.daemon.sessions.all().remove(1);
    assert_eq!(beginning.change_terms(|_| {}).await, Err(NotChanged::NoTerms));

    other.hang_up().await;
    peer.hang_up().await;
    server.until_empty().await;
    assert_eq!(session.change_terms(|_| {}).await, Err(NotChanged::Ended));
}

/// RouterOS's words: `yes` asks for it and does without, `required` does not.
#[tokio::test]
async fn use_encryption_of_a_profile_counts_over_the_servers() {
    let allows = ccp::Policy { level: ccp::Level::Allow, ..ccp::Policy::default() };
    for (word, client, encoding) in [
        ("yes", ccp::Policy::DENY, Some("none")),
        ("yes", allows, Some("MPPE128 stateless")),
        ("no", allows, Some("none")),
        ("required", allows, Some("MPPE128 stateless")),
        ("required", ccp::Policy::DENY, None),
        ("default", ccp::Policy::DENY, None),
    ] {
        let profile = format!(
            "[[profile]]\nname = \"default\"\nlocal-address = \"10.99.0.1\"\n\
             remote-address = \"default\"\nuse-encryption = \"{word}\"\n"
        );
        let server = Server::start(&profile).await;
        let caller = Caller { encryption: client, ..Caller::new(2, "ivan", "ivan-secret") };
        let mut peer = Peer::connect(&server, caller).await;
        let outcome = peer.log_in(7).await;
        assert_eq!(outcome.is_ok(), encoding.is_some(), "{word}: {outcome:?}");
        if let Some(encoding) = encoding {
            server.until("the session", |daemon| daemon.sessions.up() == 1).await;
            assert_eq!(server.daemon.sessions.views()[0].encoding, encoding, "{word}");
        }
    }
}
