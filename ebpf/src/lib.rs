//! XDP steering program, its maps and its loader.
