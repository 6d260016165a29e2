-- The kind follows kstatus: Ready always, Reconciling and Stalled only while they are
-- True, each with its observedGeneration. Beside them it has Suspended.
-- Only base, table and require("os") are used: from argocd-cm there is no more.
local hs = { status = "Progressing", message = "Waiting for the operator to reconcile it" }

local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready = conditions.Ready

local function isTrue(name)
  return conditions[name] ~= nil and conditions[name].status == "True"
end

if ready ~= nil and status.observedGeneration == obj.metadata.generation then
  hs.message = ready.reason .. ": " .. ready.message
  if isTrue("Suspended") then
    hs.status = "Suspended"
  elseif isTrue("Stalled") then
    hs.status = "Degraded"
  elseif ready.status == "True" then
    hs.status = "Healthy"
  elseif ready.reason == "DriftDetected" then
    hs.status = "Degraded"
  end
end

if obj.metadata.deletionTimestamp ~= nil then
  if hs.status == "Healthy" then
    hs.status = "Progressing"
  end
  local restores = false
  for _, finalizer in ipairs(obj.metadata.finalizers or {}) do
    if finalizer == "ecs.alibabacloud.com/restore" then
      restores = true
    end
  end
  if restores then
    hs.message = "The deletion waits until the original inner access policy is put back. " .. hs.message ..
      ". To give up on it, run the action abandon, or set the annotation ecs.alibabacloud.com/abandon to \"true\""
  else
    hs.message = "The deletion waits for finalizers of others: " .. table.concat(obj.metadata.finalizers or {}, ", ")
  end
  -- Argo CD 3.6 and later show this, and the status beside it, in place of their own text.
  hs.deletionMessage = hs.message
end

return hs
