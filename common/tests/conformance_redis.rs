//! The Redis store under the suite that every store has to pass, on a real server.

mod redis;
mod suite;

async fn on(server: &redis::RedisServer, roles: &[&str]) {
    suite::passes(&server.url(), &suite::options("check"), roles).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_redis_ledger_keeps_every_promise() {
    on(&redis::RedisServer::start(), &["session", "session_resume"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_redis_ledger_keeps_its_promises_to_many_at_once() {
    on(&redis::RedisServer::start(), &["session_race"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_leases_presence_tickets_limits_and_penalties_keep_every_promise() {
    on(&redis::RedisServer::start(), &["lease", "leader", "presence", "ticket", "limit", "penalty"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_eras_keep_every_promise() {
    on(&redis::RedisServer::start(), &["era"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_redis_bus_keeps_every_promise() {
    on(&redis::RedisServer::start(), &["bus", "bus_history"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_redis_control_log_keeps_every_promise() {
    on(&redis::RedisServer::start(), &["control", "command"]).await;
}

/// What runs here runs on any cluster: every script was given all its keys, and all of one hash slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_script_leaves_its_hash_slot() {
    let roles = [
        "session",
        "session_resume",
        "era",
        "lease",
        "leader",
        "presence",
        "ticket",
        "limit",
        "penalty",
        "bus",
        "bus_history",
        "control",
        "command",
    ];
    on(&redis::RedisServer::start_cluster(), &roles).await;
}
