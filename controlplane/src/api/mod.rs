//! The API: HTTP and JSON over a unix socket that is the owner's alone.
//!
//! | method and path | what |
//! |---|---|
//! | `GET /v1/users` | all users |
//! | `POST /v1/users` | add one ([`crate::users::Change`], with name and password) |
//! | `POST /v1/users/import` | add many ([`types::Import`]) |
//! | `GET /v1/users/{name}` | one user |
//! | `PATCH /v1/users/{name}` | change one ([`crate::users::Change`]); `?apply=true` live sessions too |
//! | `DELETE /v1/users/{name}` | remove one; `?apply=true` end live sessions |
//! | `GET /v1/sessions` | all sessions, those that log in too |
//! | `POST /v1/sessions/set` | change what sessions are held to ([`types::SessionSet`]) |
//! | `POST /v1/sessions/disconnect` | end those that a [`types::Selector`] means |
//! | `GET /v1/lockouts` | locks on addresses and users ([`types::LockoutView`]) |
//! | `POST /v1/lockouts/clear` | end those that a [`types::LockoutSelector`] means |
//! | `GET /v1/bindings` | interfaces of users ([`types::BindingView`]) |
//! | `POST /v1/bindings` | add one ([`crate::config::Binding`]) |
//! | `PATCH /v1/bindings/{name}` | change one ([`types::BindingChange`]) |
//! | `DELETE /v1/bindings/{name}` | remove one |
//! | `GET /v1/clients` | all tunnels that we dial ([`clients::ClientView`]) |
//! | `POST /v1/clients` | add one ([`crate::config::Client`]) |
//! | `PATCH /v1/clients/{name}` | change one ([`clients::ClientChange`]) |
//! | `DELETE /v1/clients/{name}` | remove one |
//! | `POST /v1/drain` | accept no calls, or again ([`types::DrainOrder`]) |
//! | `GET /v1/stats` | counters of daemon, data plane and pools |

pub mod client;
pub mod clients;
pub mod server;
pub mod types;
