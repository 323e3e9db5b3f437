//! The program on both ends of a wire: `trimtab simulate` under clients that we did not
//! write, and the daemon with the AWS SDKs on a simulated cluster behind it.

mod clients;
mod daemon;
mod endpoint;
