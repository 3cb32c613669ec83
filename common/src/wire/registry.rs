//! The code registry as documents. PROTOCOL.md and the TypeScript constants hold exactly what these functions return;
//! `cargo test -p portcullis-common --test codes` compares them, and rewrites them with `UPDATE_GENERATED=1`.

use std::fmt::Write;

use super::code::{Close, Code};

/// The line before a generated block.
pub const BEGIN: &str = "<!-- generated from common/src/wire/code.rs: begin -->";

/// The line after it.
pub const END: &str = "<!-- generated from common/src/wire/code.rs: end -->";

/// The tables of PROTOCOL.md: error codes, then close codes.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from("| error code | message | HTTP status before the upgrade |\n| --- | --- | --- |\n");
    for info in Code::ALL.iter().map(|c| c.info()) {
        let http = info.http.map_or_else(|| "–".to_owned(), |status| status.to_string());
        let _ = writeln!(out, "| `{}` | {} | {http} |", info.name, info.message);
    }
    out.push_str(
        "\n| close code | name | reason | may reconnect by itself | may resume |\n| --- | --- | --- | --- | --- |\n",
    );
    for info in Close::ALL.iter().map(|c| c.info()) {
        let yes = |b| if b { "yes" } else { "no" };
        let (number, name, reason) = (info.number, info.name, info.reason);
        let _ = writeln!(out, "| {number} | `{name}` | {reason} | {} | {} |", yes(info.reconnect), yes(info.resume));
    }
    out
}

/// `clients/typescript/src/codes.ts`.
#[must_use]
pub fn typescript() -> String {
    let mut out = String::from(
        "// Generated from common/src/wire/code.rs; do not edit.\n\n\
         /** What an error code promises. */\n\
         export interface CodeInfo {\n  /** The fixed text that is shown. */\n  readonly message: string;\n  \
         /** The HTTP status before the upgrade; null where there is none. */\n  readonly http: number | null;\n}\n\n\
         /** What a close code promises. */\n\
         export interface CloseInfo {\n  readonly name: string;\n  readonly reason: string;\n  \
         /** The client may connect again by itself. */\n  readonly reconnect: boolean;\n  \
         /** The session may be resumed. */\n  readonly resume: boolean;\n}\n\n\
         /** Every error code of the protocol. */\nexport const ERROR_CODES = {\n",
    );
    for info in Code::ALL.iter().map(|c| c.info()) {
        let http = info.http.map_or_else(|| "null".to_owned(), |status| status.to_string());
        let _ = writeln!(out, "  {}: {{ message: {:?}, http: {http} }},", info.name, info.message);
    }
    out.push_str(
        "} as const satisfies Record<string, CodeInfo>;\n\nexport type ErrorCode = keyof typeof ERROR_CODES;\n\n",
    );
    out.push_str("/** Every close code of the protocol, by number. */\nexport const CLOSE_CODES = {\n");
    for info in Close::ALL.iter().map(|c| c.info()) {
        let _ = writeln!(
            out,
            "  {}: {{ name: {:?}, reason: {:?}, reconnect: {}, resume: {} }},",
            info.number, info.name, info.reason, info.reconnect, info.resume
        );
    }
    out.push_str(
        "} as const satisfies Record<number, CloseInfo>;\n\nexport type CloseCode = keyof typeof CLOSE_CODES;\n",
    );
    out
}

/// `document` with what stands between [`BEGIN`] and [`END`] replaced by `block`; `None` without exactly one such pair.
#[must_use]
pub fn replace_block(document: &str, block: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    if after.contains(BEGIN) || after.contains(END) || before.contains(END) {
        return None;
    }
    Some(format!("{before}{BEGIN}\n{block}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_both_documents() {
        let (table, script) = (markdown(), typescript());
        for info in Code::ALL.iter().map(|c| c.info()) {
            assert!(table.contains(&format!("| `{}` |", info.name)), "{}", info.name);
            assert!(script.contains(&format!("  {}: {{ message:", info.name)), "{}", info.name);
        }
        for info in Close::ALL.iter().map(|c| c.info()) {
            assert!(table.contains(&format!("| {} | `{}` |", info.number, info.name)), "{}", info.name);
            assert!(script.contains(&format!("  {}: {{ name:", info.number)), "{}", info.name);
            assert!(info.reason.len() <= 123, "RFC 6455 §5.5: a close frame's reason has at most 123 bytes");
        }
    }

    #[test]
    fn names_and_numbers_are_unique() {
        let mut names: Vec<_> = Code::ALL.iter().map(|c| c.info().name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        let mut numbers: Vec<_> = Close::ALL.iter().map(|c| c.number()).collect();
        numbers.dedup();
        assert!(numbers.is_sorted() && numbers.len() == Close::ALL.len());
    }

    #[test]
    fn only_the_marked_block_is_replaced() {
        let document = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(replace_block(&document, "new\n"), Some(format!("a\n{BEGIN}\nnew\n{END}\nb\n")));
        assert_eq!(replace_block("no marks", "x"), None);
        assert_eq!(replace_block(&format!("{document}{document}"), "x"), None);
    }
}
