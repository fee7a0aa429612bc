//! Labs in network namespaces for tests and the demonstration.
