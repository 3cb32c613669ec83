//! `[origin] [session] [size] [csrf]`: what one connection may be, and for how long.

use super::super::address::origin as one_origin;
use super::super::model::{Csrf, OnLimit, OnStoreLoss, Origin, Session, Size};
use super::super::read::Section;
use super::super::unit::{duration, length};
use super::super::value::{choice, integer, text, type_name};
use super::{DAY, HOUR, millis, once, secs};

pub(super) fn origin(mut s: Section<'_>) -> Origin {
    let allow = s.list("allow", one_origin).unwrap_or_default();
    once(&allow, &s.key("allow"), s.report());
    Origin { allow, missing_allowed: s.or("missing", false, choice(&[("allow", true), ("deny", false)])) }
}

pub(super) fn session(mut s: Section<'_>) -> Session {
    let on_limit = [("reject", OnLimit::Reject), ("evict_oldest", OnLimit::EvictOldest)];
    let on_store_loss = [("available", OnStoreLoss::Available), ("strict", OnStoreLoss::Strict)];
    Session {
        max_per_user: s.or("max_per_user", 5, integer(1..=100_000)),
        on_limit: s.or("on_limit", OnLimit::Reject, choice(&on_limit)),
        on_store_loss: s.or("on_store_loss", OnStoreLoss::Available, choice(&on_store_loss)),
        max_store_loss: s.or("max_store_loss", secs(600), duration(secs(10)..=DAY)),
        absolute_timeout: s.or("absolute_timeout", HOUR * 12, duration(secs(1)..=DAY * 30)),
        idle_timeout: s.optional("idle_timeout", duration(millis(100)..=DAY)),
        ping_interval: s.or("ping_interval", secs(25), duration(millis(50)..=secs(600))),
        pong_timeout: s.or("pong_timeout", secs(20), duration(millis(50)..=secs(600))),
        expiry_warning: s.or("expiry_warning", secs(60), duration(secs(1)..=HOUR)),
        close_timeout: s.or("close_timeout", secs(5), duration(millis(50)..=secs(60))),
        max_rooms: s.or("max_rooms", 64, integer(1..=10_000)),
        resume_window: s.or("resume_window", secs(120), duration(secs(0)..=HOUR)),
    }
}

pub(super) fn size(mut s: Section<'_>) -> Size {
    Size {
        message: s.or("message", 64 << 10, length(64..=16 << 20)),
        fragments: s.or("fragments", 64, integer(1..=65_536)),
        assembly_timeout: s.or("assembly_timeout", secs(10), duration(millis(50)..=secs(300))),
        outbox: s.or("outbox", 256 << 10, length(1 << 10..=256 << 20)),
        json_depth: s.or("json_depth", 16, integer(1..=16)),
        json_nodes: s.or("json_nodes", 4_096, integer(16..=1_000_000)),
        json_keys: s.or("json_keys", 256, integer(8..=1_000_000)),
        json_items: s.or("json_items", 1_024, integer(8..=1_000_000)),
        json_string: s.or("json_string", 64 << 10, length(64..=16 << 20)),
        request_head: s.or("request_head", 16 << 10, length(1 << 10..=64 << 10)),
        // The HTTP parser itself takes at most 96.
        request_headers: s.or("request_headers", 64, integer(8..=96)),
    }
}

pub(super) fn csrf(mut s: Section<'_>) -> Csrf {
    let exempt = s.list("exempt", |v| type_name(text(v)?)).unwrap_or_default();
    once(&exempt, &s.key("exempt"), s.report());
    Csrf {
        exempt,
        rotate: s.or("rotate", HOUR, duration(secs(1)..=DAY)),
        grace: s.or("grace", secs(60), duration(secs(1)..=HOUR)),
    }
}
