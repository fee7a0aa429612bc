//! Tests that need root: daemons, clients and servers in network namespaces, a process for each test.
//!
//! One binary, because each would be linked with everything.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod accounting_disk;
mod bad_input;
mod bindings;
mod bridging;
mod client_mode;
mod combinations;
mod database;
mod hooks;
mod hostile_control;
mod hostile_data;
mod hostile_gre;
mod hostile_host;
mod hostile_login;
mod hostile_session;
mod keepalive;
mod linux;
mod linux_encryption;
mod linux_ipv6;
mod linux_methods;
mod linux_multilink;
mod load;
mod lockout;
mod manual_laptop;
mod manual_offices;
mod namespaces;
mod operation;
mod outward;
mod own_client;
mod radius_accounting;
mod radius_change;
mod radius_choice;
mod radius_failover;
mod radius_forged;
mod radius_given;
mod radius_lab;
mod radius_login;
mod radius_order;
mod radius_session;
mod radius_storm;
mod real_client;
mod routing;
mod spelling;
mod storm;
mod tcp;
mod terms;
