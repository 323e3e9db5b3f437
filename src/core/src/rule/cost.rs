//! What deleting and bringing back a node costs (`algorithms.md` section 1).

use serde::{Deserialize, Serialize};

use crate::policy::{Factor, GroupPolicy, Regain};
use crate::units::{Span, Usd, UsdPerHour};

/// What the costs of a group follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Costing {
    /// Marginal price of a node (p); zero where it is paid for anyway.
    pub price: UsdPerHour,
    /// From the request for a node to a node that takes jobs (b).
    pub boot: Span,
    /// How long a node is billed after the delete call (e).
    pub billed_after_delete: Span,
    /// Value of a node-hour of waiting in node-hours of price (λ).
    pub delay_value: Factor,
    /// Whatever else one boot is expected to cost (φ).
    pub failure: Usd,
}

/// What deleting and bringing back one node of a group costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootCost {
    /// Price of a node.
    pub price: UsdPerHour,
    /// What one boot costs (β).
    pub boot_cost: Usd,
    /// The idle time that costs as much as a boot (T*); for ever when the node
    /// is paid for anyway.
    pub break_even: Span,
}

impl Costing {
    /// What a policy declares; `None` while price or boot time is unknown.
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

    /// What a boot adds to the bill: p(b + e).
    pub fn boot_bill(&self) -> Usd {
        self.price.over(self.boot + self.billed_after_delete)
    }

    /// Boot cost and break-even time: β = p(b + e) + λpb + φ, T* = β/p, rounded
    /// up to the millisecond.
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

/// Boot cost and break-even time of a group; `None` while price or boot time is
/// unknown.
pub fn boot_cost(policy: &GroupPolicy) -> Option<BootCost> {
    Costing::of(policy).map(|costing| costing.boot_cost())
}

/// Division that rounds up, for numbers that are not negative.
fn div_ceil(number: i128, by: i128) -> i128 {
    (number + by - 1) / by
}
