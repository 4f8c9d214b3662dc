//! Measurements against peers that run side by side: each prints ratios with their spread.
