//! What a node does when nobody said otherwise: which rules it has, and whom it tells.

use contracts::alert::{Channel, Notification, NotificationKind, Notifier, Rule};
use std::collections::BTreeMap;

/// Rules that make sense on any machine.
pub fn default_rules() -> Vec<Rule> {
    let rule = |name: &str, expr: &str, summary: &str| Rule {
        name: name.to_owned(),
        expr: expr.to_owned(),
        for_ms: 0,
        labels: BTreeMap::from([("severity".to_owned(), "warning".to_owned())]),
        annotations: BTreeMap::from([("summary".to_owned(), summary.to_owned())]),
    };
    vec![
        rule("CpuBusy", "host_cpu_busy_ratio > 0.9", "a core is busy for more than 90 % of the time"),
        rule(
            "MemoryShort",
            "host_memory_available_bytes < 268435456",
            "less than 256 MiB of memory can be had",
        ),
        rule(
            "DiskNearlyFull",
            "host_filesystem_available_bytes < 1073741824",
            "less than 1 GiB is left on a filesystem",
        ),
    ]
}

/// Tells of alerts in the log.
pub(crate) struct LogNotifier;

impl Notifier for LogNotifier {
    fn channel(&self) -> Channel {
        Channel { name: "log".to_owned(), kind: "log".to_owned() }
    }

    fn notify(&self, notification: &Notification) -> Result<(), String> {
        let Notification { kind, alert, .. } = notification;
        match kind {
            NotificationKind::Firing => {
                tracing::warn!(target: "alert", rule = alert.rule, labels = %alert.labels, value = alert.value, "firing");
            }
            NotificationKind::Resolved => {
                tracing::info!(target: "alert", rule = alert.rule, labels = %alert.labels, "resolved");
            }
        }
        Ok(())
    }
}
