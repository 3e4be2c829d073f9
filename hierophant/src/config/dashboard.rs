//! Costs shown to operators: `[dashboard]`.

use network_lib::config::Faults;
use serde::{Deserialize, Serialize};

/// Section `[dashboard]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct DashboardConfig {
    /// Price of one worker for one hour; 0 = unknown, which is the default: no costs are shown.
    pub price_per_hour: f64,
    /// Currency of the price. Default `USD`.
    pub currency: String,
}

impl Default for DashboardConfig {
    fn default() -> Self {
        Self { price_per_hour: 0.0, currency: "USD".to_owned() }
    }
}

impl DashboardConfig {
    /// Checks the section.
    pub(super) fn validate(&self, faults: &mut Faults) {
        let price = self.price_per_hour;
        if !price.is_finite() || price < 0.0 {
            faults.add(
                "dashboard.price_per_hour",
                format!("invalid price {price}: expected a number like 2.5, or 0 if it is unknown"),
            );
        }
    }
}
