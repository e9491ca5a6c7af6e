-- What there is of the room: its epoch, first offset, head, bytes and newest stamp.
local room = standing()
if not room then
  return false
end
return {room.epoch, room.first, room.head, whole(room.bytes), whole(room.at)}
