//! The page and what it loads, compiled in: the demo needs no files beside the binary and reaches nothing outside.

/// One file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asset {
    /// Its last path segment under `/demo/`.
    pub name: &'static str,
    /// `Content-Type`.
    pub media_type: &'static str,
    /// The file.
    pub text: &'static str,
}

macro_rules! asset {
    ($name:literal, $media:literal) => {
        Asset { name: $name, media_type: $media, text: include_str!(concat!("assets/", $name)) }
    };
}

/// Served at `/`.
pub(super) const PAGE: Asset = asset!("index.html", "text/html; charset=utf-8");

/// Served under `/demo/`.
pub(super) const ALL: &[Asset] = &[
    asset!("base.css", "text/css; charset=utf-8"),
    asset!("style.css", "text/css; charset=utf-8"),
    asset!("icon.svg", "image/svg+xml"),
    asset!("theme.js", "text/javascript; charset=utf-8"),
    asset!("aside.js", "text/javascript; charset=utf-8"),
    asset!("app.js", "text/javascript; charset=utf-8"),
    asset!("attempts.js", "text/javascript; charset=utf-8"),
    asset!("breakin.js", "text/javascript; charset=utf-8"),
    asset!("codes.js", "text/javascript; charset=utf-8"),
    asset!("dom.js", "text/javascript; charset=utf-8"),
    asset!("operator.js", "text/javascript; charset=utf-8"),
    asset!("panel.js", "text/javascript; charset=utf-8"),
    asset!("talk.js", "text/javascript; charset=utf-8"),
    asset!("tape.js", "text/javascript; charset=utf-8"),
    asset!("wire.js", "text/javascript; charset=utf-8"),
];

/// Looks an asset up by name.
pub(super) fn find(name: &str) -> Option<Asset> {
    ALL.iter().copied().find(|asset| asset.name == name)
}
