//! What it costs to delete a node and to bring it back (docs/cost-rule.md, section 3).

use serde::{Deserialize, Serialize};

use crate::policy::{Factor, GroupPolicy, Regain};
use crate::units::{Span, Usd, UsdPerHour};

/// The values from which the costs of a group follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Costing {
    /// Price of one node-hour that a deletion saves (p); zero for prepaid capacity.
    pub price: UsdPerHour,
    /// Boot time: from the request for a node until it takes jobs (b).
    pub boot: Span,
    /// Time for which a node is still billed after the delete call (e).
    pub billed_after_delete: Span,
    /// Value of one node-hour of a waiting job, in node-hours of price (λ).
    pub delay_value: Factor,
    /// Other expected cost of one boot, in dollars (φ).
    pub failure: Usd,
}

/// What it costs to delete one node of a group and to bring it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootCost {
    /// Price of one node-hour (p).
    pub price: UsdPerHour,
    /// Cost of one boot, in dollars (β).
    pub boot_cost: Usd,
    /// Break-even: the idle time that costs as much as one boot (T* = β/p), rounded up to the
    /// millisecond. [`Span::FOREVER`] for prepaid capacity.
    pub break_even: Span,
}

impl Costing {
    /// Reads the values from a policy. Returns `None` if the price of metered capacity or the boot
    /// time is unknown.
    pub fn of(policy: &GroupPolicy) -> Option<Self> {
        let risk = match policy.regain {
            Regain::Plentiful => Usd::ZERO,
            Regain::Scarce { accepted_risk } => accepted_risk.unwrap_or(Usd::ZERO),
        };
        Some(Self {
            price: if policy.capacity.is_metered() { policy.price? } else { UsdPerHour::ZERO },
            boot: policy.boot?,
            billed_after_delete: policy.billed_after_delete,
            delay_value: policy.delay_value,
            failure: policy.boot_failure_cost + risk,
        })
    }

    /// Returns what a boot adds to the bill, in dollars: p(b + e).
    pub fn boot_bill(&self) -> Usd {
        self.price.over(self.boot + self.billed_after_delete)
    }

    /// Returns boot cost and break-even: β = p(b + e) + λpb + φ and T* = β/p, rounded up to the
    /// millisecond.
    pub fn boot_cost(&self) -> BootCost {
        let Self { price, failure, .. } = *self;
        let paid = self.boot + self.billed_after_delete + self.delay_value.of(self.boot);
        let boot_cost = price.over(paid) + failure;
        let break_even = if price == UsdPerHour::ZERO {
            Span::FOREVER
        } else {
            let extra_ms = div_ceil(i128::from(failure.0) * 3_600_000, i128::from(price.0));
            paid + Span(i64::try_from(extra_ms).unwrap_or(Span::FOREVER.0))
        };
        BootCost { price, boot_cost, break_even }
    }
}

/// Returns boot cost and break-even of a group, or `None` if the price or the boot time is
/// unknown.
pub fn boot_cost(policy: &GroupPolicy) -> Option<BootCost> {
    Costing::of(policy).map(|costing| costing.boot_cost())
}

/// Division that rounds up, for numbers of at least 0.
fn div_ceil(number: i128, by: i128) -> i128 {
    (number + by - 1) / by
}
