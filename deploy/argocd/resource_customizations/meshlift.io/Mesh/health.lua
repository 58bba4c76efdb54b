local status = obj.status
if status == nil then
  return { status = "Progressing", message = "Waiting for the operator to look at this mesh" }
end

local generation = obj.metadata.generation
local observed = tonumber(status.observedGeneration)
if generation ~= nil and (observed == nil or observed < generation) then
  return { status = "Progressing", message = "Waiting for the operator to observe generation " .. generation }
end

local health = { status = "Progressing", message = "Waiting for the condition Ready" }
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Ready" then
    health.message = condition.message or ""
    if condition.status == "False" then
      health.status = "Degraded"
    elseif condition.status == "True" or condition.reason == "ControlPlaneElsewhere" then
      -- In a remote cluster of a mesh there is no control plane whose health could be known.
      health.status = "Healthy"
    end
  end
end
return health
