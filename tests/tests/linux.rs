//! A real Linux client dials a real Linux server: the harness itself is good.

use std::time::Duration;

use lab::capture::Capture;
use lab::netns::{self, Namespace};
use lab::uml::{Guest, Uplink};

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

#[test]
fn a_linux_guest_dials_a_linux_server_and_nothing_passes_in_the_clear() {
    let wire = Namespace::new("wire").unwrap();
    netns::join((&wire, "client"), (&wire, "server")).unwrap();
    let capture = Capture::start(&wire, "client").unwrap();

    let mut server =
        Guest::boot(&wire, &Uplink { link: "server", address: "10.7.0.1/24", gateway: None })
            .unwrap();
    for line in [
        "printf 'alice * secret123 *\\n' > /etc/ppp/chap-secrets",
        "printf 'name pptpd\\nrequire-mschap-v2\\nrequire-mppe-128\\n' > /etc/ppp/options",
        "printf 'localip 10.99.0.1\\nremoteip 10.99.0.10\\n' > /run/pptpd.conf",
        "pptpd -c /run/pptpd.conf -o /etc/ppp/options",
    ] {
        server.run(line, SECONDS(10)).unwrap().success().unwrap();
    }
    let mut client =
        Guest::boot(&wire, &Uplink { link: "client", address: "10.7.0.2/24", gateway: None })
            .unwrap();
    let dialled = client
        .dial("10.7.0.1".parse().unwrap(), "alice", "secret123", "require-mppe-128 nomppe-stateful")
        .unwrap()
        .success()
        .unwrap();
    assert!(
        dialled.output.contains("MPPE 128-bit stateless compression enabled"),
        "{}",
        dialled.output
    );
    // The first packet may be lost with every server.
    client.run("ping -c 1 -W 1 10.99.0.1", SECONDS(10)).unwrap();
    let pinged = client.run("ping -c 3 -i 0.2 -p 5eed5eed5eed5eed 10.99.0.1", SECONDS(20)).unwrap();
    assert!(pinged.output.contains(" 3 received"), "{}", pinged.output);
    client
        .run(
            "kill $(cat /run/ppp0.pid); while [ -e /run/ppp0.pid ]; do sleep 0.2; done",
            SECONDS(20),
        )
        .unwrap();
    client.power_off().unwrap();

    let trace = capture.finish().unwrap();
    assert_eq!(trace.holding(&[0x5e, 0xed, 0x5e, 0xed]), 0);
    let messages = trace.control_messages().unwrap();
    assert_eq!(messages[..4], ["SCCRQ", "SCCRP", "OCRQ", "OCRP"]);
}
