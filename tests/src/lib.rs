//! Labs for tests and the demonstration: network namespaces of their own making, processes and
//! sockets inside them, real Linux clients in User Mode Linux, captures and what they prove.
//!
//! | module | what it gives |
//! |---|---|
//! | [`netns`] | a network namespace, links between two, addresses, commands inside |
//! | [`process`] | a child process whose output is kept and which never outlives its owner |
//! | [`wait`] | waiting for a condition with a deadline; nothing here sleeps and hopes |
//! | [`packet`] | a packet socket on a link: frames as they are, in and out |
//! | [`capture`] | all frames of a link in a pcap file, searched and decoded by tshark |
//! | [`impair`] | a hop that loses, duplicates, delays and reorders by seed |
//! | [`traffic`] | UDP, TCP and ICMP with contents that are checked on return |
//! | [`network`] | subscribers, the internet, the concentrator and its core |
//! | [`server`] | `penstock serve` there, with users, and what it says of itself |
//! | [`books`] | whether its packets add up, looked at when a lab goes |
//! | [`client`] | `penstock dial`, our own client |
//! | [`scene`] | all of it with one honest subscriber, where most tests start |
//! | [`disk`] | a small disk, to be filled |
//! | [`radius`] | a real FreeRADIUS in a namespace, and answers spoiled on their way |
//! | [`caller`] | a PPTP client driven by hand, for what no honest client does |
//! | [`load`] | thousands of clients that dial at once or one after the other |
//! | [`uml`] | a Linux guest on the host's own root, driven line by line |
//!
//! Everything needs root. What a lab made is gone when its values are dropped, after a panic too,
//! and when the process is killed: namespaces have no name, so the kernel removes them with their
//! last user.

pub mod books;
pub mod caller;
pub mod capture;
pub mod client;
pub mod disk;
pub mod impair;
pub mod load;
pub mod netns;
pub mod network;
pub mod packet;
pub mod process;
pub mod radius;
pub mod scene;
pub mod server;
pub mod traffic;
pub mod uml;
pub mod wait;
