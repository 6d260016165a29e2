-- An account has nothing to suspend, and nothing to abandon.
return {
  reconcile = { disabled = false, iconClass = "fa fa-fw fa-sync", displayName = "Check now" },
}
