//! Messages that were not delivered as they came.

use portcullis_common::ids::TypeName;
use portcullis_common::stage::Stage;

use crate::metrics::Metrics;
use crate::pipeline::outbound::Report;

/// The guard changed a message before it was delivered, or kept it; in a dry run it would have.
pub struct OutboundGuarded<'a>(pub &'a Report);

impl OutboundGuarded<'_> {
    /// Log and metrics.
    pub fn emit(&self, metrics: &Metrics) {
        let Report { kind, dry, refused, cleaned, masked, leaks } = self.0;
        let kind = kind.as_ref().map_or("(not declared)", TypeName::as_str);
        for reject in refused {
            metrics.stage(Stage::Outbound, *dry);
            tracing::warn!(
                event = "outbound_blocked", kind, dry_run = *dry, code = reject.code.info().name, detail = %reject.detail,
            );
        }
        if !refused.is_empty() && !*dry {
            return;
        }
        metrics.sanitised(*cleaned);
        metrics.leaks_masked.inc_by(u64::from(*masked));
        if *masked > 0 {
            tracing::warn!(event = "leak_masked", kind, places = *masked, leaks = leaks.join(" "));
        }
    }
}
