-- Milliseconds that each connection waits before its next request.
function delay()
  return 2
end
