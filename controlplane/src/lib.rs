//! The control plane: listener, sessions, users, configuration, API.
