local spec = obj.spec or {}
local status = obj.status or {}
local ended = status.phase == "Done" or status.phase == "Failed"
-- The phases in which the mesh may be between two versions.
local running = status.phase == "Upgrading" or status.phase == "HealthChecking"
local rollingBack = status.rollback ~= nil

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local approved = {}
for _, name in ipairs(spec.approvals or {}) do
  approved[name] = true
end
-- A rollback leaves the waves as they were, so one of them may wait for an approval forever.
local waiting = nil
if running and not rollingBack then
  for _, wave in ipairs(status.waves or {}) do
    if wave.state == "WaitingForApproval" and not approved[wave.name] then
      waiting = waiting or wave.name
    end
  end
end

local reconciling = conditions.Reconciling or {}
local blocked = status.phase == "Detecting" and reconciling.reason == "Blocked"

local canRollBack = running and not rollingBack
if ended then
  -- Requested when the old control plane no longer exists, a rollback would only take the upgrade out of Done. In place
  -- there is no second control plane: the one that runs gets its earlier version again.
  local retired = conditions.OldRevisionRetired
  local gone = spec.strategy ~= "InPlace" and retired ~= nil and retired.status == "True"
  canRollBack = status.record ~= nil and status.outcome ~= "RolledBack" and not gone
end
if spec.requestRollback or spec.rollback == "Never" then
  canRollBack = false
end

-- Not offered for what has reached its target: a version such as 1.31 would be resolved again, perhaps to a newer patch.
local canRetry = ended and status.outcome ~= "Upgraded"

local actions = {}
actions["approve"] = {
  ["disabled"] = waiting == nil,
  ["iconClass"] = "fa fa-fw fa-check",
  ["displayName"] = waiting == nil and "Approve wave" or "Approve wave " .. waiting,
}
actions["pause"] = { ["disabled"] = ended or spec.paused == true, ["iconClass"] = "fa fa-fw fa-pause" }
actions["resume"] = { ["disabled"] = spec.paused ~= true, ["iconClass"] = "fa fa-fw fa-play" }
actions["rollback"] = {
  ["disabled"] = not canRollBack,
  ["iconClass"] = "fa fa-fw fa-undo",
  ["displayName"] = "Roll back",
}
actions["retry"] = { ["disabled"] = not canRetry, ["iconClass"] = "fa fa-fw fa-redo" }
actions["redetect"] = {
  ["disabled"] = not blocked,
  ["iconClass"] = "fa fa-fw fa-search",
  ["displayName"] = "Repeat the checks",
}
return actions
