//! HTTP tests: `trimtab simulate` with third-party clients, and the daemon with the AWS SDKs
//! on a simulated cluster behind `trimtab simulate`.

mod clients;
mod daemon;
mod endpoint;
