//! placeholder
mod clock;
mod pause_file;
fn main() {}
