"""What `suite=` names: keys checked, cells measured, tables shown."""
