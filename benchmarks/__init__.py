"""What every part costs on this machine, beside a plain way in the same run."""
