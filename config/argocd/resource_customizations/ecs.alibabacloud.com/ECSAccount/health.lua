-- The kind follows kstatus: Ready always, Reconciling and Stalled only while they are
-- True, each with its observedGeneration.
-- Only base is used: from argocd-cm there is no string and no math.
local hs = { status = "Progressing", message = "Waiting for the operator to reconcile it" }

local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready, stalled = conditions.Ready, conditions.Stalled

if ready ~= nil and status.observedGeneration == obj.metadata.generation then
  hs.message = ready.reason .. ": " .. ready.message
  if stalled ~= nil and stalled.status == "True" then
    hs.status = "Degraded"
  elseif ready.status == "True" then
    hs.status = "Healthy"
  end
end

return hs
