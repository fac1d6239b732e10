"""From rankings to numbers: metrics, protocols, grids over the ensemble, confidence intervals."""
