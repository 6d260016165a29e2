local suspended = obj.spec.suspend == true
local deleted = obj.metadata.deletionTimestamp ~= nil

local actions = {
  -- A suspended resource makes no call to the cloud, on request neither.
  reconcile = { disabled = suspended, iconClass = "fa fa-fw fa-sync", displayName = "Reconcile now" },
  suspend = { disabled = suspended or deleted, iconClass = "fa fa-fw fa-pause", displayName = "Suspend" },
  resume = { disabled = not suspended, iconClass = "fa fa-fw fa-play", displayName = "Resume" },
}

if deleted then
  for _, finalizer in ipairs(obj.metadata.finalizers or {}) do
    if finalizer == "ecs.alibabacloud.com/restore" then
      actions.abandon = { disabled = false, iconClass = "fa fa-fw fa-unlink", displayName = "Give up on restoring" }
    end
  end
end

return actions
