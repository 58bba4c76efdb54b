-- Reasons of the condition Reconciling with which an upgrade waits for a person, a commit or a maintenance window.
-- Everything else that an upgrade waits for ends without anybody, so it is Progressing.
local waitsForSomebody = {
  Blocked = true,
  Paused = true,
  WaitingForApproval = true,
  WaitingForGit = true,
  WaitingForPerson = true,
  WaitingForWindow = true,
}

local status = obj.status
if status == nil or status.phase == nil then
  return { status = "Progressing", message = "Waiting for the operator to start on this object" }
end

-- The status of an earlier spec: the upgrade to 1.30 being Done must not pass for the upgrade to 1.31.
local generation = obj.metadata.generation
local observed = tonumber(status.observedGeneration)
if generation ~= nil and (observed == nil or observed < generation) then
  return { status = "Progressing", message = "Waiting for the operator to observe generation " .. generation }
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function is(kind, value)
  return conditions[kind] ~= nil and conditions[kind].status == value
end

local health = { status = "Progressing", message = status.message or "" }
if status.phase == "Failed" or status.outcome == "PlanBlocked" or is("Stalled", "True") then
  health.status = "Degraded"
elseif status.phase == "Done" then
  if is("Ready", "True") then
    health.status = "Healthy"
  end
elseif is("Reconciling", "True") and waitsForSomebody[conditions.Reconciling.reason] then
  health.status = "Suspended"
end
return health
