//! The load generator and the benchmark driver.
//!
//! `gen` is one cheap single-threaded process over epoll that plays one scenario and prints one JSON line a result;
//! `run` starts gateways and generators, compares what came out with the budgets, and writes the table.
//! CPU is the server's own (`/proc/PID/task/*/schedstat`), so the generator's cost is in no figure.

/// Monotonic and wall time of this process.
pub mod clock;

/// How other servers are spoken to.
pub mod dialect;
/// One masked frame out, one unmasked frame in.
pub mod frame;
/// The few messages of `portcullis.v1.json` that a generator says and hears.
pub mod message;
/// The handshake's request head and its answer.
pub mod request;
/// Many client sockets on one thread.
pub mod socket;
/// TLS of the client's side.
pub mod tls;
/// JSON web tokens, minted ahead of the measurement.
pub mod token;

/// One measured result, and the statistics behind it.
pub mod finding;
/// Latencies in logarithmic buckets.
pub mod histogram;
/// What a window took of the servers and of Redis.
pub mod meter;
/// What the kernel says about the server's process.
pub mod proc;
/// What Redis counts, and its own publish and subscribe.
pub mod redis;
/// A one-shot HTTP GET.
pub mod scrape;

/// What is played.
pub mod scenario;

/// Who starts what, and the report.
pub mod driver;

/// Whatever ends a benchmark early: a sentence for the person who started it.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;
/// The result of everything that can end a benchmark early.
pub type Outcome<T> = Result<T, Fault>;
